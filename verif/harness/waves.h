// Waveforms of a window of cycles, in a harness compiled with VM_TRACE_FST; in others nothing. A cycle is 1 ns.
//
//   +kestrel_waves=FILE +kestrel_waves_from=CYCLE +kestrel_waves_cycles=COUNT +kestrel_waves_bytes=LIMIT
//
// LIMIT ends the window before the file grows beyond it; 0 for none.
#ifndef KESTREL_WAVES_H
#define KESTREL_WAVES_H

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "Vtop.h"
#if VM_TRACE_FST
#include <sys/stat.h>

#include "verilated_fst_c.h"

class Waves {
    static constexpr std::uint64_t kHalfCycle = 500, kFirstLook = 32;  // picoseconds, cycles

    VerilatedFstC file_;
    std::string name_;
    std::uint64_t from_ = 0, to_ = 0, limit_ = 0, look_ = 0;
    double size_ = 0, done_ = 0;  // at the last look
    bool flushed_ = false;

    static std::string text(VerilatedContext& context, const char* name) {
        const std::string key = std::string("kestrel_waves") + name + "=";
        return std::string(context.commandArgsPlusMatch(key.c_str())).substr(key.size() + 1);
    }
    static std::uint64_t number(VerilatedContext& context, const char* name) {
        return std::strtoull(text(context, name).c_str(), nullptr, 10);
    }
    // Looks at the file's size more and more often, the nearer the limit is. What is flushed reaches the file
    // some cycles later.
    void keep_to_limit(std::uint64_t cycle) {
        if (!flushed_) {
            file_.flush();
            flushed_ = true;
            look_ = cycle + 1 + kFirstLook / 4;
            return;
        }
        flushed_ = false;
        struct stat status{}, names{};
        if (stat(name_.c_str(), &status)) return;
        stat((name_ + ".hier").c_str(), &names);  // the signals' names, which join the file at its end
        // Bytes a cycle, of all so far or of those since the last look; later cycles may write twice as many.
        const double size = double(status.st_size + names.st_size), done = double(cycle + 1 - from_);
        const double rate = std::max({size / done, (size - size_) / (done - done_), 1.0});
        const double left = (double(limit_) - size) / (2 * rate);
        if (left < kFirstLook) to_ = cycle + 1;
        else look_ = cycle + 1 + std::uint64_t(std::min(left / 2, done / 2));
        size_ = size;
        done_ = done;
    }

  public:
    Waves(VerilatedContext& context, Vtop& top) : name_{text(context, "")} {
        from_ = number(context, "_from");
        to_ = from_ + number(context, "_cycles");
        limit_ = number(context, "_bytes");
        look_ = from_ + kFirstLook;
        context.traceEverOn(true);
        top.trace(&file_, 99);
        file_.open(name_.c_str());
    }
    // After the model was evaluated with the clock low (half 0) and high (half 1).
    void dump(std::uint64_t cycle, unsigned half) {
        if (cycle < from_ || cycle >= to_) return;
        file_.dump((2 * cycle + half) * kHalfCycle);
        if (limit_ && half && cycle + 1 >= look_) keep_to_limit(cycle);
    }
    void close() { file_.close(); }
};
#else
struct Waves {
    Waves(VerilatedContext&, Vtop&) {}
    void dump(std::uint64_t, unsigned) {}
    void close() {}
};
#endif

#endif
