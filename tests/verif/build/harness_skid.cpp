// Sends 0, 10, 20, ... through skid.v and prints what comes out. Argument: the waveform file.
#include <cstdio>

#include "Vtop.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top{&context};
    // A double underscore is not a C++ name; Verilator writes the second one as its code.
    auto &i_payload = top.i___05Fpayload, &i_valid = top.i___05Fvalid, &i_ready = top.i___05Fready;
    auto &o_payload = top.o___05Fpayload, &o_valid = top.o___05Fvalid, &o_ready = top.o___05Fready;
#if VM_TRACE_FST
    context.traceEverOn(true);
    VerilatedFstC waves;
    top.trace(&waves, 99);
    waves.open(argv[1]);
#endif
    int sent = 0, received = 0;
    for (int cycle = 0; received < 10; ++cycle) {
        top.rst = cycle < 2;
        i_valid = cycle >= 2 && sent < 10;
        i_payload = sent * 10;
        o_ready = cycle % 3 == 0;
        top.clk = 0;
        top.eval();
        if (cycle >= 2 && o_valid && o_ready) {
            std::printf("%d\n", o_payload);
            ++received;
        }
        if (i_valid && i_ready) ++sent;
#if VM_TRACE_FST
        waves.dump(context.time());
#endif
        context.timeInc(5);
        top.clk = 1;
        top.eval();
#if VM_TRACE_FST
        waves.dump(context.time());
#endif
        context.timeInc(5);
    }
    top.final();
#if VM_TRACE_FST
    waves.close();
#endif
    return 0;
}
