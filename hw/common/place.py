"""Placing a block as an instance of a Verilog module of its own.

Amaranth emits every submodule as a module of its own, so a block that is repeated by lane would be repeated
in the Verilog. Here a block is converted once, under a fixed name, and its parent holds instances: the
Verilog has one module, and one file, a block.
"""

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

PREFIX = "kestrel_"


def module_name(component: wiring.Component) -> str:
    """Verilog name of the component's module: kernel_unit for KernelUnit, with the prefix."""
    name = type(component).__name__
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
    return PREFIX + snake


def place(
    m: Module, name: str, component: wiring.Component, *, clocked: bool = True, reset: Any = None
) -> None:
    """Add to ``m`` the submodule ``name``: an instance of the component's Verilog module, connected to the
    component's own port signals, so that the parent uses ``component`` as if it were elaborated in place.
    A purely combinational block has no clock and reset ports: ``clocked=False``.
    ``reset``: instead of the parent's.
    """
    # It is elaborated when its own module is converted; Amaranth would warn that it is never used.
    setattr(component, "_MustUse__used", True)
    ports: dict[str, Any] = {}
    if clocked:
        ports = {"i_clk": ClockSignal("sync"), "i_rst": ResetSignal("sync") if reset is None else reset}
    for path, member, value in component.signature.flatten(component):
        direction = "i" if member.flow == In else "o"
        ports[f"{direction}_{'__'.join(map(str, path))}"] = value
    m.submodules[name] = Instance(module_name(component), **ports)


def delayed(m: Module, value: Any, cycles: int, name: str, *, reset_less: bool = False) -> Any:
    """``value`` as it was ``cycles`` clock cycles ago (a chain of registers)."""
    for stage in range(cycles):
        register = Signal.like(value, name=f"{name}_{stage + 1}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value
