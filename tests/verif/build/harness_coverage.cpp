// Some cycles of skid.v, as many as the argument says, and then what they reached.
#include <cstdlib>

#include "Vtop.h"
#if VM_COVERAGE
#include "verilated_cov.h"
#endif

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top{&context};
    const int cycles = std::atoi(argv[1]);
    for (int cycle = 0; cycle < cycles; ++cycle) {
        top.rst = cycle < 2;
        top.i___05Fvalid = cycle >= 2;
        top.i___05Fpayload = cycle & 1 ? 0x0F : 0;
        top.o___05Fready = 1;
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    }
    top.final();
#if VM_COVERAGE
    context.coveragep()->write();
#endif
    return 0;
}
