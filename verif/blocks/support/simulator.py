"""What the cocotb benches share: clock, reset, seeded random choices, streams, and an in-order scoreboard.

Timing: a bench changes inputs just after a rising edge and looks at signals at the falling edge, where
everything combinational has settled; what holds there is what the next rising edge sees. (Directly after a
rising edge registers still show their old values in this Verilator set-up; do not rely on that.)
"""

import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

Item = TypeVar("Item")

PERIOD_NS = 10


def seed() -> int:
    """The run's seed, from the environment variable KESTREL_SEED."""
    return int(os.environ.get("KESTREL_SEED", "1"))


def rng(purpose: str) -> random.Random:
    """A random source of its own for each purpose, so that adding one does not change the others."""
    return random.Random(f"{seed()}/{purpose}")


def fail(message: str) -> AssertionError:
    """The exception to raise for a failed check; it names the seed that repeats it."""
    return AssertionError(f"{message} (KESTREL_SEED={seed()})")


async def start(dut: Any, reset_cycles: int = 3) -> None:
    """Starts the clock on ``clk`` and resets the design."""
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    await reset(dut, reset_cycles)


async def reset(dut: Any, cycles: int = 3) -> None:
    """Holds ``rst`` for some cycles; returns just after a rising edge, with ``rst`` low."""
    dut.rst.value = 1
    await ClockCycles(dut.clk, cycles)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


def always() -> bool:
    """Readiness of a stream without pauses."""
    return True


def pauses(source: random.Random, probability: float, mean_burst: float = 3.0) -> Callable[[], bool]:
    """Readiness of a stream that pauses in random bursts, ``probability`` of the cycles in the long run.

    Bursts matter: single-cycle pauses never let a pipeline fill or drain. ``mean_burst``: cycles of a pause,
    at least 1; of 1 with a probability of a half: every other cycle.
    """
    if not 0 <= probability < 1:
        raise ValueError(f"pause probability {probability}; allowed: at least 0 and below 1")
    paused = False

    def ready() -> bool:
        nonlocal paused
        leave = 1 / mean_burst
        enter = min(1.0, leave * probability / (1 - probability))
        paused = source.random() >= leave if paused else source.random() < enter
        return not paused

    return ready


class StreamPort:
    """The signals ``NAME__payload``, ``NAME__valid`` and ``NAME__ready`` of an Amaranth stream of the top."""

    def __init__(self, dut: Any, name: str) -> None:
        self.name = name
        self.clk = dut.clk
        self.payload = getattr(dut, f"{name}__payload")
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")


class StreamDriver:
    """Feeds a design's input stream; ``go`` says in each cycle whether a new item may be offered.

    As the protocol demands, an offered item stays until it is taken.
    """

    def __init__(self, port: StreamPort, go: Callable[[], bool] = always) -> None:
        self.port = port
        self.go = go
        self.sent = 0
        port.valid.value = 0

    async def send(self, items: Iterable[int]) -> None:
        """Returns when the last item has been taken, just after that rising edge."""
        port = self.port
        for item in items:
            while not self.go():
                await RisingEdge(port.clk)
            port.payload.value = item
            port.valid.value = 1
            taken = False
            while not taken:
                await FallingEdge(port.clk)
                taken = bool(port.ready.value)
                await RisingEdge(port.clk)
            port.valid.value = 0
            self.sent += 1


class StreamMonitor:
    """Takes a design's output stream and hands each payload to ``receive``; ``go`` says when it is ready.

    It also holds the design to the protocol: an offered item stays, unchanged, until it is taken. Runs until
    the test ends or ``stop`` is called (before a reset, say).
    """

    def __init__(
        self, port: StreamPort, receive: Callable[[int], None], go: Callable[[], bool] = always
    ) -> None:
        self.port = port
        self.receive = receive
        self.go = go
        self.taken = 0
        port.ready.value = 0
        self._task = cocotb.start_soon(self._run())

    def stop(self) -> None:
        """Ends the monitor and leaves the stream not ready."""
        self._task.cancel()
        self.port.ready.value = 0

    async def _run(self) -> None:
        port = self.port
        waiting: int | None = None
        while True:
            port.ready.value = int(self.go())
            await FallingEdge(port.clk)
            if port.valid.value:
                payload = port.payload.value.to_unsigned()
                if waiting not in (None, payload):
                    raise fail(f"stream {port.name}: {waiting:#x} became {payload:#x} before it was taken")
                waiting = payload
                if port.ready.value:
                    self.taken += 1
                    waiting = None
                    self.receive(payload)
            elif waiting is not None:
                raise fail(f"stream {port.name}: {waiting:#x} was withdrawn before it was taken")
            await RisingEdge(port.clk)


class Scoreboard(Generic[Item]):
    """Compares what arrives with what is expected, in order.

    Use it in a ``with`` block: at its end everything expected must have arrived and at least one item must
    have been compared, so that a silent design fails.
    """

    def __init__(self, name: str, show: Callable[[Item], str] = repr) -> None:
        self.name = name
        self.checked = 0
        self._expected: deque[Item] = deque()
        self._show = show

    def expect(self, items: Iterable[Item]) -> None:
        """Appends to what must still arrive."""
        self._expected.extend(items)

    def receive(self, item: Item) -> None:
        """Compares the next item. Raises AssertionError when it is wrong or one too many."""
        if not self._expected:
            raise fail(f"{self.name}: {self._show(item)} arrived after all {self.checked} expected items")
        expected = self._expected.popleft()
        if item != expected:
            raise fail(f"{self.name}: item {self.checked} is {self._show(item)}, not {self._show(expected)}")
        self.checked += 1

    @property
    def missing(self) -> int:
        """Items that must still arrive."""
        return len(self._expected)

    async def drained(self, clk: Any, cycles: int) -> None:
        """Returns when nothing is missing. Raises AssertionError after ``cycles`` clock cycles."""
        for _ in range(cycles):
            if not self._expected:
                return
            await FallingEdge(clk)
        raise fail(f"{self.name}: {self.missing} items missing after {cycles} cycles ({self.checked} came)")

    def finish(self) -> None:
        """Raises AssertionError unless everything arrived and something was compared."""
        if self._expected:
            raise fail(f"{self.name}: {self.missing} items never arrived ({self.checked} came)")
        if not self.checked:
            raise fail(f"{self.name}: nothing was compared")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()


def pack(values: Sequence[int], bits: int) -> int:
    """Values of ``bits`` bits each as one number, the first in the lowest bits; negative ones wrap."""
    mask = (1 << bits) - 1
    return sum((value & mask) << (index * bits) for index, value in enumerate(values))


def unpack(word: int, bits: int, count: int, signed: bool = False) -> list[int]:
    """The inverse of ``pack``."""
    values = [(word >> (index * bits)) & ((1 << bits) - 1) for index in range(count)]
    return [value - (1 << bits) if signed and value >> (bits - 1) else value for value in values]
