// Runs frames through the whole chip, with the C driver as its host.
//
//   chip STATS SEED PAUSE CHECK SELECT SINK ON_FAILURE [IMAGE OUTPUT PART PATIENCE CAPACITY]...
//
// STATS    text, lines of "name value ..."
// SEED     of the pauses; PAUSE: share of cycles, in 1/256, in which a stream pauses
// CHECK    1: a self-check before the first frame; SELECT: what OUTPUT.select gets
// SINK     what takes the packets: dma, queue:DEPTH (in beats) or blind:DEPTH, a queue that does not look at TKEEP
// ON_FAILURE   stop or continue, after a frame that does not end well
// IMAGE    bytes of the image stream; OUTPUT: bytes of the packet that came out go there; PART: register PART
// PATIENCE cycles after which the host gives the frame up, 0: when nothing moves any more
// CAPACITY bytes that the driver is told there is room for, 0: for more than any packet
//
// Waveforms, from the first frame on: waves.h. The ROM images come by +kestrel_weights=FILE, +kestrel_table=FILE and +kestrel_descriptor=FILE.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "chip_board.h"

namespace {

constexpr std::size_t kFixed = 7, kEach = 5;  // arguments

Bytes read_file(const char* name) {
    std::FILE* file = std::fopen(name, "rb");
    if (!file) {
        std::perror(name);
        std::exit(3);
    }
    Bytes data;
    std::uint8_t block[4096];
    for (std::size_t got; (got = std::fread(block, 1, sizeof block, file)) > 0;)
        data.insert(data.end(), block, block + got);
    std::fclose(file);
    return data;
}

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    std::vector<std::string> arguments;
    for (int i = 1; i < argc; ++i)
        if (argv[i][0] != '+') arguments.push_back(argv[i]);
    std::unique_ptr<Sink> sink = arguments.size() < kFixed ? nullptr : make_sink(arguments[5]);
    if (!sink || (arguments.size() - kFixed) % kEach) {
        std::fprintf(stderr, "usage: chip STATS SEED PAUSE CHECK SELECT SINK ON_FAILURE "
                             "[IMAGE OUTPUT PART PATIENCE CAPACITY]...\n");
        return 2;
    }
    const auto number = [&](std::size_t n) { return std::strtoull(arguments[n].c_str(), nullptr, 10); };
    Vtop top{&context};
    const std::uint64_t seed = number(1) * 2 + 1;
    const auto share = unsigned(number(2));
    const bool prepares = arguments[5] == "dma", cancels = arguments[5].substr(0, 5) != "queue";
    const bool goes_on = arguments[6] == "continue";
    Waves waves{context, top};
    Board board{top, waves, {seed * 0x9E3779B97F4A7C15ull, share}, {seed * 0xD1B54A32D192ED03ull, share}, std::move(sink)};
    board.reset();

    const kestrel_board access{
        &board, axi_read, axi_write, wait_for_irq, send_image, receive_packet,
        prepares ? prepare_packet : nullptr, cancels ? cancel_packets : nullptr,
    };
    kestrel chip{};
    std::FILE* stats = std::fopen(arguments[0].c_str(), "w");
    if (!stats) {
        std::perror(arguments[0].c_str());
        return 3;
    }
    const auto report = [&](const char* what, kestrel_result result) {
        std::fprintf(stats, "%s %d %u\n", what, int(result), unsigned(chip.causes));
        return result;
    };
    std::uint32_t config0 = 0, config1 = 0;
    axi_read(&board, KESTREL_CONFIG0_ADDRESS, &config0);
    axi_read(&board, KESTREL_CONFIG1_ADDRESS, &config1);
    board.stream_bytes = (config0 & KESTREL_CONFIG0_STREAM_BYTES_MASK) >> KESTREL_CONFIG0_STREAM_BYTES_SHIFT;
    board.word_bytes = (config1 & KESTREL_CONFIG1_WORD_LANES_MASK) >> KESTREL_CONFIG1_WORD_LANES_SHIFT;

    bool good = report("open", kestrel_open(&chip, &access)) == KESTREL_OK;
    std::fprintf(stats, "network %u %u %u\n", chip.network_crc, unsigned(chip.height), unsigned(chip.width));
    if (good)
        good = report("expect", kestrel_expect_network(&chip, chip.network_crc, chip.height, chip.width)) == KESTREL_OK;
    if (good && number(3)) good = report("check", kestrel_check(&chip)) == KESTREL_OK;
    const auto output = kestrel_output(number(4));
    Bytes data(std::size_t(1) << 26);
    for (std::size_t at = kFixed; good && at < arguments.size(); at += kEach) {
        const Bytes image = read_file(arguments[at].c_str());
        const auto part = std::uint32_t(number(at + 2));
        board.patience = number(at + 3);
        const std::size_t capacity = number(at + 4) ? number(at + 4) : data.size();
        const bool whole = output == KESTREL_FEATURES ||
            (part & KESTREL_PART_LAST_CROP_MASK && part & KESTREL_PART_LAST_ROTATION_MASK);
        std::size_t bytes = 0;
        const std::uint64_t from = board.cycle;
        board.watch();
        good = report("configure", kestrel_configure(&chip, output, part)) == KESTREL_OK &&
            report("frame", kestrel_frame(&chip, image.data(), image.size(), whole ? data.data() : nullptr,
                                          capacity, &bytes)) == KESTREL_OK;
        std::uint32_t cycles = 0;
        kestrel_cycles(&chip, &cycles);
        std::fprintf(stats, "cycles %u %llu\n", unsigned(cycles), (unsigned long long)(board.cycle - from));
        for (unsigned n = 0; n < KESTREL_COUNTERS_COUNT; ++n) {
            std::uint32_t value = 0;
            kestrel_counter(&chip, n, &value);
            std::fprintf(stats, "counter %u %u\n", n, unsigned(value));
        }
        if (!good) bytes = 0;
        std::FILE* file = std::fopen(arguments[at + 1].c_str(), "wb");
        if (!file || std::fwrite(data.data(), 1, bytes, file) != bytes) {
            std::perror(arguments[at + 1].c_str());
            return 3;
        }
        std::fclose(file);
        good = good || goes_on;
    }
    std::uint32_t frames = 0;
    kestrel_frames(&chip, &frames);
    std::fprintf(stats, "frames %u\n", unsigned(frames));
    for (int n = 0; n < 20; ++n) board.tick();
    std::fprintf(stats, "left %zu %u\n", board.sink->left(), unsigned(top.m_axis_tvalid));
    std::fclose(stats);
    top.final();
    waves.close();
    return 0;
}
