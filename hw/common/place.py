"""Placing a block: a submodule in simulation, an instance of a module and file of its own in Verilog.

Amaranth emits every submodule as a module of its own, so a block that is repeated by lane would be repeated
in the Verilog. ``hw.emit.verilog`` converts with ``Emission`` as Amaranth's platform: then a placed block
becomes an instance, and is collected, to be converted once. With any other platform, that of ``amaranth.sim``
among them, it is the submodule that it would be without all this.
"""

from typing import Any

from amaranth.hdl import (
    ClockSignal,
    Elaboratable,
    Fragment,
    Instance,
    Module,
    ResetInserter,
    ResetSignal,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.tracer import get_src_loc

PREFIX = "kestrel_"


def module_name(component: wiring.Component) -> str:
    """Verilog name of the component's module: kernel_unit for KernelUnit, with the prefix."""
    name = type(component).__name__
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
    return PREFIX + snake


def port_names(component: wiring.Component) -> dict[str, tuple[wiring.Member, Any]]:
    """Every port of the component's Verilog module but clock and reset: its member and its signal."""
    flat = component.signature.flatten(component)
    return {"__".join(map(str, path)): (member, value) for path, member, value in flat}


class Emission:
    """Amaranth's platform while one block is converted to Verilog; collects what is placed in that block.

    ``blocks`` are in the order of placing; ``memories`` are names of the wrappers, without the prefix.
    """

    def __init__(self) -> None:
        self.blocks: list[wiring.Component] = []
        self.memories: set[str] = set()


def use_ports_only(component: wiring.Component, like: wiring.Component) -> None:
    """For a block whose module is that of ``like``: only its ports are used, it must not be elaborated.

    Amaranth warns of components that never are, so it is elaborated to nothing. Raises ValueError if its
    ports are not those of ``like``.
    """
    component.elaborate = lambda platform: Module()
    Fragment.get(component, None)
    if component.signature != like.signature:
        raise ValueError(f"two blocks {module_name(component)} of one design have different ports")


class _Placed(Elaboratable):
    def __init__(self, component: wiring.Component, clocked: bool, reset: Any, source: Any) -> None:
        self._component, self._clocked, self._reset, self._source = component, clocked, reset, source

    def elaborate(self, platform: object) -> Any:
        component = self._component
        if not isinstance(platform, Emission):
            return component if self._reset is None else ResetInserter(self._reset)(component)
        platform.blocks.append(component)
        ports: dict[str, Any] = {}
        if self._clocked:
            reset = ResetSignal("sync")
            ports["i_clk"] = ClockSignal("sync")
            ports["i_rst"] = reset if self._reset is None else reset | self._reset
        for name, (member, value) in port_names(component).items():
            ports[f"{'i' if member.flow == In else 'o'}_{name}"] = value
        return Instance(module_name(component), src_loc=self._source, **ports)


def place(
    m: Module, name: str, component: wiring.Component, *, clocked: bool = True, reset: Any = None
) -> None:
    """Add ``component`` to ``m`` as ``name``; the parent uses its ports as those of any submodule.

    A purely combinational block has no clock and reset ports: ``clocked=False``. ``reset``: resets the block
    beside the parent's own reset.
    """
    m.submodules[name] = _Placed(component, clocked, reset, get_src_loc())


def delayed(m: Module, value: Any, cycles: int, name: str, *, reset_less: bool = False) -> Any:
    """``value`` as it was ``cycles`` clock cycles ago (a chain of registers)."""
    for stage in range(cycles):
        register = Signal.like(value, name=f"{name}_{stage + 1}", reset_less=reset_less, src_loc_at=1)
        m.d.sync += register.eq(value)
        value = register
    return value
