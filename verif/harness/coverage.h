// Coverage of a run, in a harness compiled with VM_COVERAGE; in others nothing.
//
//   +verilator+coverage+file+NAME
#ifndef KESTREL_COVERAGE_H
#define KESTREL_COVERAGE_H

#include "Vtop.h"
#if VM_COVERAGE
#include "verilated_cov.h"

inline void write_coverage(VerilatedContext& context) { context.coveragep()->write(); }
#else
inline void write_coverage(VerilatedContext&) {}
#endif

#endif
