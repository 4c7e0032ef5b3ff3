// What takes the chip's packets on a board: a queue with an end, or a DMA.
#ifndef KESTREL_CHIP_SINKS_H
#define KESTREL_CHIP_SINKS_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <vector>

using Bytes = std::vector<std::uint8_t>;

class Sink {
public:
    virtual ~Sink() = default;
    virtual bool ready() const = 0;
    // A beat, of which the bytes that TKEEP names.
    virtual void take(const Bytes& kept, bool last) = 0;
    virtual bool has_packet() const = 0;
    // False if the packet does not fit.
    virtual bool receive(std::uint8_t* data, std::size_t capacity, std::size_t& bytes) = 0;
    virtual void prepare(std::uint8_t* data, std::size_t capacity) = 0;
    virtual void cancel() = 0;
    // Beats and packets that nobody has received.
    virtual std::size_t left() const = 0;
};

// Holds `depth` beats and is not ready when it is full. Drops a packet whose last beat has no bytes, unless blind.
class Queue : public Sink {
public:
    Queue(std::size_t depth, bool blind) : depth_(depth), blind_(blind) {}
    bool ready() const override { return beats_.size() < depth_; }
    void take(const Bytes& kept, bool last) override {
        beats_.push_back({kept, last});
        if (last && kept.empty() && !blind_) {
            do beats_.pop_back();
            while (!beats_.empty() && !beats_.back().last);
        }
    }
    bool has_packet() const override {
        return std::any_of(beats_.begin(), beats_.end(), [](const Beat& beat) { return beat.last; });
    }
    bool receive(std::uint8_t* data, std::size_t capacity, std::size_t& bytes) override {
        bytes = 0;
        for (bool last = false; !last; beats_.pop_front()) {
            const Beat& beat = beats_.front();
            if (bytes + beat.kept.size() > capacity) return false;
            std::copy(beat.kept.begin(), beat.kept.end(), data + bytes);
            bytes += beat.kept.size();
            last = beat.last;
        }
        return true;
    }
    void prepare(std::uint8_t*, std::size_t) override { std::abort(); }  // a queue needs no preparation
    void cancel() override { beats_.clear(); }
    std::size_t left() const override { return beats_.size(); }

private:
    struct Beat {
        Bytes kept;
        bool last;
    };
    std::size_t depth_;
    bool blind_;
    std::deque<Beat> beats_;
};

// Ready only from `prepare` on until the end of a packet or of its memory. Does not tell a packet that was given up
// from any other.
class Dma : public Sink {
public:
    bool ready() const override { return data_ && !ended_ && bytes_ < capacity_; }
    void take(const Bytes& kept, bool last) override {
        const std::size_t fits = std::min(kept.size(), capacity_ - bytes_);
        std::copy_n(kept.begin(), fits, data_ + bytes_);
        bytes_ += fits;
        overrun_ = overrun_ || fits < kept.size();
        ended_ = last;
    }
    bool has_packet() const override { return ended_; }
    bool receive(std::uint8_t*, std::size_t, std::size_t& bytes) override {
        bytes = bytes_;
        const bool good = !overrun_;
        cancel();
        return good;
    }
    void prepare(std::uint8_t* data, std::size_t capacity) override {
        cancel();
        data_ = data;
        capacity_ = capacity;
    }
    void cancel() override {
        data_ = nullptr;
        capacity_ = bytes_ = 0;
        ended_ = overrun_ = false;
    }
    std::size_t left() const override { return data_ != nullptr; }

private:
    std::uint8_t* data_ = nullptr;
    std::size_t capacity_ = 0, bytes_ = 0;
    bool ended_ = false, overrun_ = false;
};

// By its name on the command line: dma, queue:DEPTH or blind:DEPTH. Null for any other.
inline std::unique_ptr<Sink> make_sink(const std::string& name) {
    if (name == "dma") return std::make_unique<Dma>();
    const std::size_t colon = name.find(':');
    const std::string kind = name.substr(0, colon);
    if (colon == std::string::npos || (kind != "queue" && kind != "blind")) return nullptr;
    return std::make_unique<Queue>(std::strtoull(name.c_str() + colon + 1, nullptr, 10), kind == "blind");
}

#endif
