// Runs one frame through the engine: image in, every memory write and the output stream recorded.
//
//   engine IMAGE TRACE OUTPUT STATS SEED PAUSE
//
// IMAGE   beats of the image stream, each of as many 32-bit words as hold TDATA
// TRACE   one record a write into the feature memory: layer, part, bank, address, lanes, data, each as
//         32-bit words (of all banks, if the engine writes several at once)
// OUTPUT  one record a beat: TDATA, TKEEP, TLAST, each as 32-bit words
// STATS   text, lines of "name value": outcome and counted cycles
// SEED    of the pauses; PAUSE: share of cycles, in 1/256, in which a stream pauses
//
// Waveforms: waves.h. The ROM images come by +kestrel_weights=FILE and +kestrel_table=FILE.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "Vtop.h"
#include "coverage.h"
#include "waves.h"

namespace {

constexpr std::uint64_t kReportEvery = 1 << 14;   // cycles between lines of progress on standard output
constexpr unsigned kCounterBase = 256, kCounters = 8;  // hw/spec: COUNTER_BASE, COUNTERS
constexpr std::uint64_t kStuckAfter = 4'000'000;  // cycles without a write or a beat

template <class Port> constexpr std::size_t words() { return (sizeof(Port) + 3) / 4; }

template <class Port> void append(std::vector<std::uint32_t>& record, const Port& port) {
    if constexpr (std::is_integral_v<Port>) {
        const std::uint64_t value = port;
        for (std::size_t i = 0; i < words<Port>(); ++i) record.push_back(std::uint32_t(value >> (32 * i)));
    } else {
        for (std::size_t i = 0; i < words<Port>(); ++i) record.push_back(port[i]);
    }
}

template <class Port> void assign(Port& port, const std::uint32_t* from) {
    if constexpr (std::is_integral_v<Port>) {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < words<Port>(); ++i) value |= std::uint64_t(from[i]) << (32 * i);
        port = Port(value);
    } else {
        for (std::size_t i = 0; i < words<Port>(); ++i) port[i] = from[i];
    }
}

struct File {
    std::FILE* handle;
    File(const char* name, const char* mode) : handle(std::fopen(name, mode)) {
        if (!handle) {
            std::perror(name);
            std::exit(3);
        }
    }
    ~File() { std::fclose(handle); }
    void put(const std::vector<std::uint32_t>& record) {
        if (std::fwrite(record.data(), 4, record.size(), handle) != record.size()) {
            std::perror("write");
            std::exit(3);
        }
    }
};

struct Pauses {
    std::uint64_t state;
    unsigned share;
    bool operator()() {
        if (!share) return false;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (state >> 24 & 255) < share;
    }
};

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    std::vector<char*> arguments;
    for (int i = 1; i < argc; ++i)
        if (argv[i][0] != '+') arguments.push_back(argv[i]);
    if (arguments.size() < 6) {
        std::fprintf(stderr, "usage: engine IMAGE TRACE OUTPUT STATS SEED PAUSE\n");
        return 2;
    }

    Vtop top{&context};
    constexpr std::size_t beat_words = words<std::remove_reference_t<decltype(top.s_axis_tdata)>>();
    std::vector<std::uint32_t> image;
    {
        File file(arguments[0], "rb");
        std::fseek(file.handle, 0, SEEK_END);
        image.resize(std::ftell(file.handle) / 4);
        std::fseek(file.handle, 0, SEEK_SET);
        if (std::fread(image.data(), 4, image.size(), file.handle) != image.size()) return 3;
    }
    File trace(arguments[1], "wb"), output(arguments[2], "wb"), stats(arguments[3], "w");
    const std::uint64_t seed = std::strtoull(arguments[4], nullptr, 10) * 2 + 1;
    const unsigned share = std::strtoul(arguments[5], nullptr, 10);
    Pauses input_pause{seed * 0x9E3779B97F4A7C15ull, share}, output_pause{seed * 0xD1B54A32D192ED03ull, share};

    Waves waves{context, top};

    top.rst = 1;
    top.start = 0;
    top.s_axis_tvalid = 0;
    top.s_axis_tlast = 0;
    top.m_axis_tready = 0;

    const std::size_t beats = image.size() / beat_words;
    std::size_t sent = 0;
    bool offered = false;
    std::uint64_t cycle = 0, quiet = 0, writes = 0, received = 0;
    std::map<std::pair<unsigned, unsigned>, std::uint64_t> counted;
    std::vector<std::uint32_t> record;
    std::string outcome = "stuck";

    for (; quiet < kStuckAfter; ++cycle, ++quiet) {
        // Inputs change while the clock is low; what settles then is what the rising edge sees.
        top.clk = 0;
        top.rst = cycle < 4;
        top.start = cycle == 5;
        if (!offered && sent < beats && cycle > 5 && !input_pause()) {
            offered = true;
            assign(top.s_axis_tdata, &image[sent * beat_words]);
            top.s_axis_tlast = sent + 1 == beats;
        }
        top.s_axis_tvalid = offered;
        top.m_axis_tready = !output_pause();
        top.eval();
        waves.dump(cycle, 0);
        if (cycle >= 4) {
            if (top.busy) ++counted[{top.kind, top.layer}];
            if (offered && top.s_axis_tready) {
                offered = false;
                ++sent;
                quiet = 0;
            }
            if (top.trace_valid) {
                record.clear();
                append(record, top.layer);
                append(record, top.trace_part);
                append(record, top.trace_bank);
                append(record, top.trace_addr);
                append(record, top.trace_lanes);
                append(record, top.trace_data);
                trace.put(record);
                ++writes;
                quiet = 0;
            }
            if (top.m_axis_tvalid && top.m_axis_tready) {
                record.clear();
                append(record, top.m_axis_tdata);
                append(record, top.m_axis_tkeep);
                append(record, top.m_axis_tlast);
                output.put(record);
                ++received;
                quiet = 0;
            }
            if (top.done) outcome = "done";
            if (top.error) outcome = "error";
        }
        top.clk = 1;
        top.eval();
        waves.dump(cycle, 1);
        if (cycle % kReportEvery == 0) {
            std::printf("%llu\n", (unsigned long long)cycle);
            std::fflush(stdout);
        }
        if (outcome != "stuck") break;
    }
    // The engine's own counters: categories from address 256 on, below it those of the records.
    const auto counter = [&](unsigned address) {
        top.counter_addr = address;
        for (int edge = 0; edge < 4; ++edge) {
            top.clk = edge & 1;
            top.eval();
        }
        return (unsigned long long)top.counter_value;
    };
    std::vector<unsigned long long> categories;
    std::map<unsigned, unsigned long long> records;
    if (outcome == "done") {
        for (unsigned n = 0; n < kCounters; ++n) categories.push_back(counter(kCounterBase + n));
        for (const auto& [where, count] : counted) records[where.second] = counter(where.second);
    }
    top.final();
    waves.close();
    write_coverage(context);

    std::fprintf(stats.handle, "outcome %s\n", outcome.c_str());
    std::fprintf(stats.handle, "error %u\n", unsigned(top.error));
    std::fprintf(stats.handle, "cycles %llu\n", (unsigned long long)top.cycles);
    std::fprintf(stats.handle, "simulated %llu\n", (unsigned long long)cycle);
    std::fprintf(stats.handle, "sent %llu\n", (unsigned long long)sent);
    std::fprintf(stats.handle, "writes %llu\n", (unsigned long long)writes);
    std::fprintf(stats.handle, "received %llu\n", (unsigned long long)received);
    for (const auto& [where, count] : counted)
        std::fprintf(stats.handle, "visit %u %u %llu\n", where.first, where.second, (unsigned long long)count);
    for (std::size_t n = 0; n < categories.size(); ++n)
        std::fprintf(stats.handle, "counter %zu %llu\n", n, categories[n]);
    for (const auto& [record, count] : records)
        std::fprintf(stats.handle, "record %u %llu\n", record, count);
    return 0;
}
