"""Which named signal of the Verilog a place in the netlist belongs to."""

import json
from collections import defaultdict, deque
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

NETLIST = "netlist.json"
"""What yosys has written of the netlist, in the folder of its base."""

_OUTPUTS = frozenset({"Y", "Q"})


class Signals:
    """Of a module of the netlist in ``folder``."""

    def __init__(self, folder: Path, module: str) -> None:
        text = (folder / NETLIST).read_text(encoding="utf-8")
        self._module: Mapping[str, Any] = json.loads(text)["modules"][module]

    @cached_property
    def _names(self) -> dict[int, str]:
        """Of each net that has one: the first of its names."""
        found: dict[int, str] = {}
        for name, net in self._module["netnames"].items():
            if not net["hide_name"]:
                for number, bit in enumerate(net["bits"]):
                    known = f"{name}[{number}]" if len(net["bits"]) > 1 else name
                    found.setdefault(bit, known)
        return found

    @cached_property
    def _next(self) -> dict[int, list[int]]:
        """The nets that the cells behind a net drive."""
        found: dict[int, list[int]] = defaultdict(list)
        for cell in self._module["cells"].values():
            outputs = [bit for port in _OUTPUTS for bit in cell["connections"].get(port, ())]
            for port, bits in cell["connections"].items():
                if port not in _OUTPUTS:
                    # The operators work bit by bit where they can: the outputs that come first are closest.
                    for number, bit in enumerate(bits):
                        same = outputs[number : number + 1] if len(bits) == len(outputs) else []
                        found[bit] += [*same, *outputs]
        return found

    def has(self, cell: str) -> bool:
        """Whether the module has a cell of that name."""
        return cell.removeprefix("\\") in self._module["cells"]

    def behind(self, cell: str, port: str, bit: int) -> str:
        """The signal that the bit of the port drives, ``base[2]``: for an input, the next one behind the
        cell; empty if there is none with a name."""
        connections = self._module["cells"][cell.removeprefix("\\")]["connections"]
        if port in _OUTPUTS:
            starts = [connections[port][bit]]
        else:
            starts = [n for output in _OUTPUTS for n in connections.get(output, ())]
            same = starts[bit : bit + 1] if len(starts) == len(connections[port]) else []
            starts = [*same, *starts]
        seen, queue = set(starts), deque(starts)
        while queue:
            net = queue.popleft()
            if net in self._names:
                return self._names[net]
            for following in self._next.get(net, ()):
                if following not in seen:
                    seen.add(following)
                    queue.append(following)
        return ""
