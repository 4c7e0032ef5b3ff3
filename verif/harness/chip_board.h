// What surrounds the simulated chip: its clock, an AXI4-Lite master, a source of images, and a sink of packets.
#ifndef KESTREL_CHIP_BOARD_H
#define KESTREL_CHIP_BOARD_H

#include <cstdint>
#include <cstdio>
#include <memory>
#include <type_traits>

#include "Vtop.h"
#include "chip_sinks.h"
#include "kestrel_driver.h"
#include "waves.h"

constexpr std::uint64_t kReportEvery = 1 << 14;
constexpr std::uint64_t kStuckAfter = 4'000'000;  // cycles without an interrupt or a beat

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
    Waves& waves;
    Pauses input_pause, output_pause;
    std::unique_ptr<Sink> sink;
    std::uint64_t cycle = 0, beats_out = 0;
    std::uint64_t patience = 0;  // cycles after which `wait` gives up; 0: when nothing moves any more
    std::size_t stream_bytes = 1, word_bytes = 1;
    Bytes image;
    std::size_t sent = 0;
    bool offered = false;
    bool watched = false;            // by the waveforms, whose cycle 0 is that of `watch`
    std::uint64_t watched_from = 0;

    void watch() {
        if (!watched) watched_from = cycle;
        watched = true;
    }
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
        top.m_axis_tready = sink->ready() && !output_pause();
        top.eval();
        if (offered && top.s_axis_tready) {
            offered = false;
            sent += stream_bytes;
        }
        if (top.m_axis_tvalid && top.m_axis_tready && !top.rst) {
            Bytes kept;
            for (std::size_t n = 0; n < word_bytes; ++n)
                if (bit_of(top.m_axis_tkeep, n)) kept.push_back(byte_of(top.m_axis_tdata, n));
            sink->take(kept, top.m_axis_tlast);
            ++beats_out;
        }
        before();
        if (watched) waves.dump(cycle - watched_from, 0);
        top.clk = 1;
        top.eval();
        if (watched) waves.dump(cycle - watched_from, 1);
        if (++cycle % kReportEvery == 0) {
            std::printf("%llu\n", (unsigned long long)cycle);
            std::fflush(stdout);
        }
    }
    void tick() {
        tick([] {});
    }
    void reset() {
        top.rst = 1;
        top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_arvalid = 0;
        top.s_axil_bready = top.s_axil_rready = 0;
        top.s_axil_awprot = top.s_axil_arprot = 0;
        top.s_axis_tlast = 0;
        for (int n = 0; n < 4; ++n) tick();
        top.rst = 0;
    }
};

inline Board& board_of(void* context) { return *static_cast<Board*>(context); }

inline int axi_read(void* context, std::uint32_t address, std::uint32_t* value) {
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

inline int axi_write(void* context, std::uint32_t address, std::uint32_t value) {
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

inline int wait_for_irq(void* context) {
    Board& board = board_of(context);
    const std::uint64_t from = board.cycle;
    std::uint64_t quiet = 0;
    while (!board.top.irq) {
        const auto moved = board.sent + board.beats_out;
        board.tick();
        quiet = board.sent + board.beats_out == moved ? quiet + 1 : 0;
        if (quiet > kStuckAfter || (board.patience && board.cycle - from > board.patience)) return 1;
    }
    return 0;
}

inline int send_image(void* context, const std::uint8_t* image, std::size_t bytes) {
    Board& board = board_of(context);
    // The rest of an image that the chip has given up goes first.
    for (int n = 0; n < 1'000'000 && board.sent < board.image.size(); ++n) board.tick();
    if (board.sent < board.image.size()) return 1;
    board.image.assign(image, image + bytes);
    board.sent = 0;
    return 0;
}

inline int receive_packet(void* context, std::uint8_t* data, std::size_t capacity, std::size_t* bytes) {
    Board& board = board_of(context);
    for (int n = 0; n < 100'000 && !board.sink->has_packet(); ++n) board.tick();
    return !board.sink->has_packet() || !board.sink->receive(data, capacity, *bytes);
}

inline int prepare_packet(void* context, std::uint8_t* data, std::size_t capacity) {
    board_of(context).sink->prepare(data, capacity);
    return 0;
}

inline int cancel_packets(void* context) {
    board_of(context).sink->cancel();
    return 0;
}

#endif
