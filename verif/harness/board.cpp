// The simulated board behind a pseudo-terminal: bytes that a host writes to it become bits on the board's line,
// and the other way round.
//
//   board PORT CYCLES_PER_BIT_X1000 SEED NOISE
//
// PORT     a link to the pseudo-terminal is kept under this name; it appears when the board is ready
// CYCLES_PER_BIT_X1000   clock cycles of a bit on the line, times 1000
// SEED     of the noise; NOISE: bytes in a million, in either direction, that are lost, doubled or changed
//
// Time stands still when nothing has moved on the line for a while, which spares the machine.
//
// Commands on standard input, one a line, answered on standard output by "done":
//   unplug   the pseudo-terminal goes away, and with it what was on its way
//   plug     there is another one
//   reset    the board's reset, for some cycles
//   noise N  as NOISE, from now on
//   quit     ends the simulation; so does the end of the input
// Other lines on standard output are numbers of cycles, for progress.
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr std::uint64_t kReportEvery = 1 << 14, kIdleAfter = 1 << 14;
constexpr unsigned kResetCycles = 16, kLookEvery = 256;

struct Random {
    std::uint64_t state;
    std::uint64_t operator()(std::uint64_t below) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (state >> 16) % below;
    }
};

// What a byte becomes on a bad line: none, one or two bytes.
struct Noise {
    Random random;
    std::uint64_t share = 0;
    template <class Put> void operator()(std::uint8_t byte, Put put) {
        if (share && random(1'000'000) < share) {
            const std::uint64_t kind = random(3);
            if (kind == 0) return;
            if (kind == 1) put(byte);
            else byte ^= std::uint8_t(1 + random(255));
        }
        put(byte);
    }
};

class Terminal {
public:
    explicit Terminal(std::string name) : name_(std::move(name)) {}
    ~Terminal() { unplug(); }
    void plug() {
        unplug();
        master_ = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
        if (master_ < 0 || grantpt(master_) || unlockpt(master_)) fail("pseudo-terminal");
        const char* other = ptsname(master_);
        // Held open here too: otherwise reading fails until a host opens it, and after each that closes it.
        slave_ = open(other, O_RDWR | O_NOCTTY);
        termios raw{};
        if (slave_ < 0 || tcgetattr(slave_, &raw)) fail(other);
        cfmakeraw(&raw);
        if (tcsetattr(slave_, TCSANOW, &raw)) fail(other);
        const std::string fresh = name_ + ".new";
        ::unlink(fresh.c_str());
        if (symlink(other, fresh.c_str()) || rename(fresh.c_str(), name_.c_str())) fail(name_.c_str());
    }
    void unplug() {
        if (master_ < 0) return;
        ::unlink(name_.c_str());
        close(slave_);
        close(master_);
        master_ = slave_ = -1;
    }
    // Bytes that a host has written.
    bool read(std::deque<std::uint8_t>& to) {
        std::uint8_t block[4096];
        const ssize_t got = master_ < 0 ? 0 : ::read(master_, block, sizeof block);
        if (got <= 0) return false;
        to.insert(to.end(), block, block + got);
        return true;
    }
    // What does not fit is lost, as on a board whose adapter's memory is full.
    void write(std::uint8_t byte) {
        if (master_ >= 0 && ::write(master_, &byte, 1) < 0) return;
    }
    int handle() const { return master_; }

private:
    [[noreturn]] static void fail(const char* what) {
        std::perror(what);
        std::exit(3);
    }
    std::string name_;
    int master_ = -1, slave_ = -1;
};

// The host's side of the line: its own clock, with the same nominal rate.
class Line {
public:
    Line(Vtop& top, double cycles_per_bit) : top_(top), bit_(cycles_per_bit) { top_.rx = 1; }
    bool sending() const { return sending_; }
    void send(std::uint8_t byte) {
        bits_ = std::uint32_t(byte) << 1 | 1u << 9;
        bits_left_ = 10;
        left_ = 0;
        sending_ = true;
    }
    void before_edge() {
        if (!sending_) return;
        if (left_ <= 0) {
            if (!bits_left_) {
                sending_ = false;
                return;
            }
            top_.rx = bits_ & 1;
            bits_ >>= 1;
            --bits_left_;
            left_ += bit_;
        }
        left_ -= 1;
    }
    // True if a byte has come from the board.
    bool after_edge(std::uint8_t& byte) {
        if (!receiving_) {
            receiving_ = !top_.tx;
            sample_ = 1.5 * bit_;
            count_ = 0;
            return false;
        }
        sample_ -= 1;
        if (sample_ > 0) return false;
        sample_ += bit_;
        if (count_ < 8) {
            received_ = std::uint8_t(received_ >> 1 | (top_.tx ? 128 : 0));
            ++count_;
            return false;
        }
        receiving_ = false;
        byte = received_;
        return top_.tx;
    }
    bool receiving() const { return receiving_; }

private:
    Vtop& top_;
    double bit_, left_ = 0, sample_ = 0;
    std::uint32_t bits_ = 0;
    unsigned bits_left_ = 0, count_ = 0;
    bool sending_ = false, receiving_ = false;
    std::uint8_t received_ = 0;
};

// Lines of standard input, which is not waited for.
class Commands {
public:
    Commands() { fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK); }
    bool next(std::string& line) {
        char block[256];
        const ssize_t got = ::read(STDIN_FILENO, block, sizeof block);
        if (got > 0) text_.append(block, got);
        else if (got == 0) text_ += "quit\n";
        const std::size_t end = text_.find('\n');
        if (end == std::string::npos) return false;
        line = text_.substr(0, end);
        text_.erase(0, end + 1);
        return true;
    }

private:
    std::string text_;
};

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    std::vector<std::string> arguments;
    for (int i = 1; i < argc; ++i)
        if (argv[i][0] != '+') arguments.push_back(argv[i]);
    if (arguments.size() != 4) {
        std::fprintf(stderr, "usage: board PORT CYCLES_PER_BIT_X1000 SEED NOISE\n");
        return 2;
    }
    const auto number = [&](std::size_t n) { return std::strtoull(arguments[n].c_str(), nullptr, 10); };
    Vtop top{&context};
    Line line{top, double(number(1)) / 1000};
    Noise noise{{number(2) * 0x9E3779B97F4A7C15ull + 1}, number(3)};
    Terminal terminal{arguments[0]};
    Commands commands;
    std::deque<std::uint8_t> to_board;
    std::uint64_t cycle = 0, quiet = 0;
    unsigned reset = kResetCycles;

    terminal.plug();
    for (std::string command; command != "quit";) {
        if (cycle % kLookEvery == 0) {
            std::deque<std::uint8_t> fresh;
            if (terminal.read(fresh))
                for (const std::uint8_t byte : fresh) noise(byte, [&](std::uint8_t b) { to_board.push_back(b); });
            if (commands.next(command)) {
                if (command == "unplug") {
                    terminal.unplug();
                    to_board.clear();
                } else if (command == "plug") terminal.plug();
                else if (command == "reset") reset = kResetCycles;
                else if (command.rfind("noise ", 0) == 0) noise.share = std::strtoull(&command[6], nullptr, 10);
                std::printf("done\n");
                std::fflush(stdout);
                quiet = 0;
            }
            if (quiet > kIdleAfter) {
                pollfd both[] = {{terminal.handle(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
                poll(both, 2, 20);
                if (!((both[0].revents | both[1].revents) & POLLIN)) continue;
                quiet = 0;
            }
        }
        top.clk = 0;
        top.rst = reset != 0;
        reset -= reset != 0;
        if (!line.sending() && !to_board.empty()) {
            line.send(to_board.front());
            to_board.pop_front();
        }
        line.before_edge();
        top.eval();
        top.clk = 1;
        top.eval();
        std::uint8_t byte = 0;
        if (line.after_edge(byte)) noise(byte, [&](std::uint8_t b) { terminal.write(b); });
        quiet = line.sending() || line.receiving() ? 0 : quiet + 1;
        if (++cycle % kReportEvery == 0) {
            std::printf("%llu\n", (unsigned long long)cycle);
            std::fflush(stdout);
        }
    }
    top.final();
    return 0;
}
