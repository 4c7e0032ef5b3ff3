"""From a component to the text of its Verilog module.

Amaranth turns the component into its intermediate form. That form has a name for every intermediate result,
and leaves extensions of operands to Verilog's rules. Here it becomes what one would write by hand:
expressions that are exact in width, registers in clocked blocks, choices in continuous assignments, and the
names of the source.
"""

import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path, PurePath
from typing import Any

from amaranth.back import rtlil
from amaranth.lib import wiring

from kestrel.hw.common.place import module_name, port_names
from kestrel.hw.convert.choices import lower_choices
from kestrel.hw.convert.module_text import LINE, module_text
from kestrel.hw.convert.netlist import Netlist, build
from kestrel.hw.convert.rtlil import parse
from kestrel.hw.convert.tidy import keep_what_is_read, name_after_aliases, name_after_ports, simplify

PACKAGE = Path(__file__).parents[2]


def convert(component: wiring.Component, platform: object, *, sources: bool = False) -> str:
    """Verilog of a component, with a comment that describes it.

    ``platform`` goes to the component's ``elaborate``. With ``sources``, declarations say in a comment which
    line of Python they come from. Raises ValueError for what no block of ours may have, such as a memory that
    is not one of the wrappers.
    """
    text = rtlil.convert(component, name=module_name(component), platform=platform, emit_src=sources)
    bodies = [module_text(netlist, tuple(port_names(component)), place=_place if sources else None)
              for netlist in netlists(text)]  # fmt: skip
    return "\n".join([describe(component), *bodies])


def netlists(text: str) -> list[Netlist]:
    """Netlists of the modules in a text of Amaranth's, as they are written in Verilog."""
    modules = parse(text)
    outputs = {
        module.name: frozenset(name[1:] for name, wire in module.wires.items() if wire.direction == "output")
        for module in modules
    }
    found = []
    for module in modules:
        netlist = build(module, outputs)
        lower_choices(netlist)
        simplify(netlist)
        name_after_ports(netlist)
        keep_what_is_read(netlist)
        name_after_aliases(netlist)
        found.append(netlist)
    return found


def describe(component: wiring.Component) -> str:
    """A comment with the name of the component's module, what its docstring says, and its parameters."""
    kind = type(component)
    lines = [module_name(component), "", *inspect.cleandoc(kind.__doc__ or "").splitlines()]
    parameters = _parameters(component)
    if parameters:
        lines += ["", *textwrap.wrap(f"Made for {', '.join(parameters)}.", LINE - 3)]
    lines += ["", f"Generated from {_place(inspect.getsourcefile(kind) or '')}; changes belong there."]
    return "".join(f"// {line}".rstrip() + "\n" for line in lines).replace("``", "")


def _parameters(component: wiring.Component) -> list[str]:
    """What the component was made with, as far as it remembers it by the same names."""
    found = []
    for name in inspect.signature(type(component).__init__).parameters:
        value = getattr(component, name, getattr(component, f"_{name}", None))
        if is_dataclass(value) and not isinstance(value, type):
            found += _settings(asdict(value))
        elif isinstance(value, int | str):
            found.append(f"{name} {value}")
    return found


def _settings(values: Mapping[str, Any]) -> list[str]:
    """Fields of a configuration with their values; its name says nothing about the Verilog."""
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _settings(value)
        elif key != "name" and value is not None:
            found.append(f"{key} {value}")
    return found


def _place(source: str) -> str:
    """Where something in Python is, from the package on: paths differ between machines."""
    path = PurePath(source)
    return str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) else path.name
