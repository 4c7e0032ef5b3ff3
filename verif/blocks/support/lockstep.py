"""A block and its model, cycle by cycle with the same inputs."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from amaranth.lib import data
from amaranth.lib.wiring import In
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from kestrel.hw.common.place import port_names
from kestrel.hw.convert.names import legal
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.verif.blocks.support.layouts import decode, encode
from kestrel.verif.blocks.support.run import BLOCK_VARIABLE, CONFIG_VARIABLE, block_maker
from kestrel.verif.blocks.support.simulator import PERIOD_NS, Scoreboard


def bench_config() -> EngineConfig:
    """The configuration that the block was built for, as ``verif.blocks.support.run`` hands it over."""
    values = json.loads(os.environ[CONFIG_VARIABLE])
    return EngineConfig(**values | {"feature_words": tuple(values["feature_words"])})


class Model(Protocol):
    """What a block is held to."""

    @property
    def step(self) -> Callable[..., Mapping[str, Any]]:
        """Given a cycle's inputs by name: the outputs in that cycle, then the clock edge. None, also inside
        a list or a dict, stands for what is not determined."""
        ...


class Block:
    """A block's ports with values as in ``layouts``. ``finer`` gives ports a shape that says more than the
    block's own, which is a plain number of bits."""

    def __init__(self, dut: Any, **finer: data.Layout) -> None:
        self.dut = dut
        component = block_maker(os.environ[BLOCK_VARIABLE])(bench_config())
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        for name, (member, _) in port_names(component).items():
            ports = self.inputs if member.flow == In else self.outputs
            ports[name] = member.shape
        for port, shape in finer.items():
            (self.inputs if port in self.inputs else self.outputs)[port] = shape
        self._driven: dict[str, int] = {}

    def drive(self, values: Mapping[str, Any]) -> None:
        """Sets inputs, ``rst`` among them; those not named keep their value."""
        for name, value in values.items():
            word = value if name == "rst" else encode(self.inputs[name], value)
            if self._driven.get(name) != word:
                self._driven[name] = word
                self._signal(name).value = word

    def sample(self, name: str) -> Any:
        """An output's value now."""
        return decode(self.outputs[name], int(self._signal(name).value))  # a bit has no to_unsigned

    def _signal(self, name: str) -> Any:
        """The port: in Verilog a keyword has another name."""
        return getattr(self.dut, legal(name))


async def lockstep(block: Block, model: Model, rows: Iterable[Mapping[str, Any]]) -> None:
    """Starts the clock and hands each of ``rows``, the inputs of one cycle, to block and model; compares
    every output that the model determines. Every output must be determined at some time.
    """
    Clock(block.dut.clk, PERIOD_NS, unit="ns").start()
    await RisingEdge(block.dut.clk)
    with ExitStack() as stack:
        boards = _boards(block, stack)
        for cycle, row in enumerate(rows):
            block.drive(row)
            await FallingEdge(block.dut.clk)
            _compare(block, cycle, model.step(**row), boards)
            await RisingEdge(block.dut.clk)


async def settle_each(block: Block, model: Model, rows: Iterable[Mapping[str, Any]]) -> None:
    """The same for a block without a clock."""
    with ExitStack() as stack:
        boards = _boards(block, stack)
        for number, row in enumerate(rows):
            block.drive(row)
            await Timer(PERIOD_NS, unit="ns")
            _compare(block, number, model.step(**row), boards)


def _boards(block: Block, stack: ExitStack) -> dict[str, Scoreboard[Any]]:
    """A scoreboard for each output; an item is the cycle and the value."""
    return {name: stack.enter_context(Scoreboard[Any](name)) for name in block.outputs}


def _compare(
    block: Block, cycle: int, expected: Mapping[str, Any], boards: Mapping[str, Scoreboard[Any]]
) -> None:
    for name, value in expected.items():
        if not determined(value):
            continue
        actual = block.sample(name)
        boards[name].expect([(cycle, fill(value, actual))])
        boards[name].receive((cycle, actual))


def determined(expected: Any) -> bool:
    """Whether any part of an expected value is determined."""
    if isinstance(expected, dict):
        return any(map(determined, expected.values()))
    if isinstance(expected, list):
        return any(map(determined, expected))
    return expected is not None


def fill(expected: Any, actual: Any) -> Any:
    """``expected`` with the actual value where it is not determined."""
    if isinstance(expected, dict):
        return {key: fill(value, actual[key]) for key, value in expected.items()}
    if isinstance(expected, list):
        return [fill(value, part) for value, part in zip(expected, actual, strict=True)]
    return actual if expected is None else expected
