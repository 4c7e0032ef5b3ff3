// Runs frames through the whole chip, with the C driver as its host.
//
//   chip STATS SEED PAUSE CHECK SELECT [IMAGE OUTPUT PART]...
//
// STATS    text, lines of "name value ..."
// SEED     of the pauses; PAUSE: share of cycles, in 1/256, in which a stream pauses
// CHECK    1: a self-check before the first frame; SELECT: what OUTPUT.select gets
// IMAGE    bytes of the image stream; OUTPUT: bytes of the packet that came out go there; PART: register PART
//
// The ROM images come by +kestrel_weights=FILE, +kestrel_table=FILE and +kestrel_descriptor=FILE.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <type_traits>
#include <vector>

#include "Vtop.h"
#include "kestrel_driver.h"

namespace {

constexpr std::uint64_t kReportEvery = 1 << 14;
constexpr std::uint64_t kStuckAfter = 4'000'000;  // cycles without an interrupt or a beat

using Bytes = std::vector<std::uint8_t>;

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

// Byte n of a port, whatever Verilator has made of it.
template <class Port> std::uint8_t byte_of(const Port& port, std::size_t n) {
    if constexpr (std::is_integral_v<Port>) return std::uint8_t(std::uint64_t(port) >> (8 * n));
    else return std::uint8_t(port[n / 4] >> (8 * (n % 4)));
}

template <class Port> bool bit_of(const Port& port, std::size_t n) { return byte_of(port, n / 8) >> (n % 8) & 1; }

template <class Port> void put_byte(Port& port, std::size_t n, std::uint8_t value) {
    if constexpr (std::is_integral_v<Port>) {
        if (n < sizeof(Port)) {
            const std::uint64_t cleared = std::uint64_t(port) & ~(std::uint64_t(255) << (8 * n));
            port = Port(cleared | std::uint64_t(value) << (8 * n));
        }
    } else {
        port[n / 4] = (port[n / 4] & ~(255u << (8 * (n % 4)))) | std::uint32_t(value) << (8 * (n % 4));
    }
}

struct Board {
    Vtop& top;
    Pauses input_pause, output_pause;
    std::uint64_t cycle = 0;
    std::size_t stream_bytes = 1, word_bytes = 1;
    Bytes image;
    std::size_t sent = 0;
    bool offered = false;
    Bytes packet;
    std::deque<Bytes> packets;

    // One clock cycle; `before` looks at what the rising edge sees.
    template <class Before> void tick(Before before) {
        top.clk = 0;
        if (!offered && sent < image.size() && !input_pause()) {
            offered = true;
            for (std::size_t n = 0; n < stream_bytes; ++n)
                put_byte(top.s_axis_tdata, n, sent + n < image.size() ? image[sent + n] : 0);
            top.s_axis_tlast = sent + stream_bytes >= image.size();
        }
        top.s_axis_tvalid = offered;
        top.m_axis_tready = !output_pause();
        top.eval();
        if (offered && top.s_axis_tready) {
            offered = false;
            sent += stream_bytes;
        }
        if (top.m_axis_tvalid && top.m_axis_tready) {
            for (std::size_t n = 0; n < word_bytes; ++n)
                if (bit_of(top.m_axis_tkeep, n)) packet.push_back(byte_of(top.m_axis_tdata, n));
            if (top.m_axis_tlast) {
                packets.push_back(packet);
                packet.clear();
            }
        }
        before();
        top.clk = 1;
        top.eval();
        if (++cycle % kReportEvery == 0) {
            std::printf("%llu\n", (unsigned long long)cycle);
            std::fflush(stdout);
        }
    }
    void tick() {
        tick([] {});
    }
};

Board& board_of(void* context) { return *static_cast<Board*>(context); }

int axi_read(void* context, std::uint32_t address, std::uint32_t* value) {
    Board& board = board_of(context);
    Vtop& top = board.top;
    bool asked = false, answered = false;
    std::uint32_t response = 0;
    top.s_axil_araddr = address;
    top.s_axil_arvalid = 1;
    top.s_axil_rready = 1;
    for (int n = 0; n < 100 && !answered; ++n) {
        bool taken = false;
        board.tick([&] {
            taken = top.s_axil_arvalid && top.s_axil_arready;
            if (top.s_axil_rvalid) {
                answered = true;
                *value = top.s_axil_rdata;
                response = top.s_axil_rresp;
            }
        });
        if (taken) asked = true;
        top.s_axil_arvalid = !asked;
    }
    top.s_axil_rready = 0;
    return !answered || response != 0;
}

int axi_write(void* context, std::uint32_t address, std::uint32_t value) {
    Board& board = board_of(context);
    Vtop& top = board.top;
    bool address_taken = false, data_taken = false, answered = false;
    std::uint32_t response = 0;
    top.s_axil_awaddr = address;
    top.s_axil_wdata = value;
    top.s_axil_wstrb = 15;
    top.s_axil_awvalid = top.s_axil_wvalid = 1;
    top.s_axil_bready = 1;
    for (int n = 0; n < 100 && !answered; ++n) {
        board.tick([&] {
            if (top.s_axil_awvalid && top.s_axil_awready) address_taken = true;
            if (top.s_axil_wvalid && top.s_axil_wready) data_taken = true;
            if (top.s_axil_bvalid) {
                answered = true;
                response = top.s_axil_bresp;
            }
        });
        top.s_axil_awvalid = !address_taken;
        top.s_axil_wvalid = !data_taken;
    }
    top.s_axil_bready = 0;
    return !answered || response != 0;
}

int wait_for_irq(void* context) {
    Board& board = board_of(context);
    std::uint64_t quiet = 0;
    std::size_t sent = board.sent, received = board.packet.size();
    while (!board.top.irq) {
        board.tick();
        ++quiet;
        if (board.sent != sent || board.packet.size() != received) quiet = 0;
        sent = board.sent;
        received = board.packet.size();
        if (quiet > kStuckAfter) return 1;
    }
    return 0;
}

int send_image(void* context, const std::uint8_t* image, std::size_t bytes) {
    Board& board = board_of(context);
    if (board.sent < board.image.size()) return 1;  // the one before is still going out
    board.image.assign(image, image + bytes);
    board.sent = 0;
    return 0;
}

int receive_packet(void* context, std::uint8_t* data, std::size_t capacity, std::size_t* bytes) {
    Board& board = board_of(context);
    for (int n = 0; n < 100'000 && board.packets.empty(); ++n) board.tick();
    if (board.packets.empty() || board.packets.front().size() > capacity) return 1;
    *bytes = board.packets.front().size();
    for (std::size_t n = 0; n < *bytes; ++n) data[n] = board.packets.front()[n];
    board.packets.pop_front();
    return 0;
}

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
    std::vector<char*> arguments;
    for (int i = 1; i < argc; ++i)
        if (argv[i][0] != '+') arguments.push_back(argv[i]);
    if (arguments.size() < 5 || (arguments.size() - 5) % 3) {
        std::fprintf(stderr, "usage: chip STATS SEED PAUSE CHECK SELECT [IMAGE OUTPUT PART]...\n");
        return 2;
    }
    Vtop top{&context};
    const std::uint64_t seed = std::strtoull(arguments[1], nullptr, 10) * 2 + 1;
    const unsigned share = std::strtoul(arguments[2], nullptr, 10);
    Board board{top, {seed * 0x9E3779B97F4A7C15ull, share}, {seed * 0xD1B54A32D192ED03ull, share}};

    top.rst = 1;
    top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_arvalid = 0;
    top.s_axil_bready = top.s_axil_rready = 0;
    top.s_axil_awprot = top.s_axil_arprot = 0;
    top.s_axis_tlast = 0;
    for (int n = 0; n < 4; ++n) board.tick();
    top.rst = 0;
    board.packet.clear();
    board.packets.clear();

    const kestrel_board access{&board, axi_read, axi_write, wait_for_irq, send_image, receive_packet};
    kestrel chip{};
    std::FILE* stats = std::fopen(arguments[0], "w");
    if (!stats) {
        std::perror(arguments[0]);
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
    if (good && std::atoi(arguments[3])) good = report("check", kestrel_check(&chip)) == KESTREL_OK;
    const auto output = kestrel_output(std::atoi(arguments[4]));
    std::vector<std::uint8_t> data(std::size_t(1) << 26);
    for (std::size_t at = 5; good && at < arguments.size(); at += 3) {
        const Bytes image = read_file(arguments[at]);
        const unsigned part = std::strtoul(arguments[at + 2], nullptr, 10);
        const bool whole = output == KESTREL_FEATURES ||
            (part & KESTREL_PART_LAST_CROP_MASK && part & KESTREL_PART_LAST_ROTATION_MASK);
        std::size_t bytes = 0;
        const std::uint64_t from = board.cycle;
        good = report("configure", kestrel_configure(&chip, output, part)) == KESTREL_OK &&
            report("frame", kestrel_frame(&chip, image.data(), image.size(), whole ? data.data() : nullptr,
                                          data.size(), &bytes)) == KESTREL_OK;
        std::uint32_t cycles = 0;
        kestrel_cycles(&chip, &cycles);
        std::fprintf(stats, "cycles %u %llu\n", unsigned(cycles), (unsigned long long)(board.cycle - from));
        for (unsigned n = 0; n < KESTREL_COUNTERS_COUNT; ++n) {
            std::uint32_t value = 0;
            kestrel_counter(&chip, n, &value);
            std::fprintf(stats, "counter %u %u\n", n, unsigned(value));
        }
        if (good) {
            std::FILE* file = std::fopen(arguments[at + 1], "wb");
            if (!file || std::fwrite(data.data(), 1, bytes, file) != bytes) {
                std::perror(arguments[at + 1]);
                return 3;
            }
            std::fclose(file);
        }
    }
    std::uint32_t frames = 0;
    kestrel_frames(&chip, &frames);
    std::fprintf(stats, "frames %u\n", unsigned(frames));
    for (int n = 0; n < 20; ++n) board.tick();
    std::fprintf(stats, "left %zu %zu\n", board.packets.size(), board.packet.size());
    std::fclose(stats);
    top.final();
    return 0;
}
