"""Simulates a mapped netlist gate by gate, with delays, in many copies at once, and computes its energy.

Bit k of every integer here belongs to copy k; each copy has its own inputs and registers. Within a clock
cycle, gates are evaluated event by event with inertial delays: a pulse shorter than a gate's delay does not
pass the gate. Glitches are therefore counted. ``settled`` counts what a simulation without delays would see.

A net's change takes the energy 1/2 C V^2, where C is the capacitance of the pins it drives, and its driver's
internal energy. In every cycle, a register takes its clock pin's C V^2 and internal energy. Wires and the
clock tree are not included.
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kestrel.verif.physical.cell_function import CellFunction, compile_function
from kestrel.verif.physical.liberty import Library

STEP_PS = 10
"""The resolution of delays. A coarse one merges events of different copies, which makes them cheap."""

INPUT_DELAY_PS = 100
"""The time after the clock edge at which inputs change, as if registers drove them."""

CLOCK = "clk"

Net = int | str  # a number, or the constant "0", "1" or "x"


@dataclass(frozen=True)
class Gate:
    """A combinational gate. ``driver`` is its cell and output pin."""

    function: CellFunction
    inputs: tuple[Net, ...]
    output: Net
    driver: tuple[str, str]


@dataclass(frozen=True)
class Register:
    """A register: its cell, its data pin and net, and the nets of its outputs, inverted ones with True."""

    cell: str
    data: Net
    outputs: tuple[tuple[str, Net, bool], ...]


@dataclass(frozen=True)
class Energy:
    """Energy of all copies and counted cycles, in fJ: the nets' capacitances, the gates' internal energy, the
    registers' internal energy for changes, and the clock pins. ``without_glitches`` is the total if nets and
    gates had no glitches. ``leakage_nw`` is the leakage of one copy in nW."""

    switching: float
    internal: float
    registers: float
    clock: float
    without_glitches: float
    leakage_nw: float

    @property
    def total(self) -> float:
        """The dynamic energy, including glitches."""
        return self.switching + self.internal + self.registers + self.clock


class Netlist:
    """A flat module of yosys' JSON, mapped to the library. Raises KeyError for a cell that the library lacks.

    Members: ``inputs`` and ``names`` (from signals to nets, low bit first), ``gates`` and ``registers``.
    """

    def __init__(self, path: Path, module: str, library: Library) -> None:
        self.library = library
        design = json.loads(path.read_text(encoding="utf-8"))["modules"][module]
        ports = design["ports"].items()
        self.inputs: dict[str, list[Net]] = {
            name: port["bits"] for name, port in ports if port["direction"] == "input" and name != CLOCK
        }
        self.names: dict[str, list[Net]] = {name: net["bits"] for name, net in design["netnames"].items()}
        self.gates: list[Gate] = []
        self.registers: list[Register] = []
        self.load: dict[Net, float] = defaultdict(float)
        self.leakage_nw = 0.0
        compiled: dict[tuple[str, str], CellFunction] = {}
        for instance in design["cells"].values():
            if instance["type"] == "$scopeinfo":
                continue
            kind = instance["type"]
            cell = library.cells[kind]
            nets = {pin: bits[0] for pin, bits in instance["connections"].items() if bits}
            self.leakage_nw += cell.leakage_nw
            for pin, capacitance in cell.inputs.items():
                self.load[nets[pin]] += capacitance
            if cell.clock:
                outputs = tuple((pin, nets[pin], cell.functions[pin] != cell.state)
                                for pin in cell.functions if pin in nets)  # fmt: skip
                self.registers.append(Register(kind, nets[cell.next_state], outputs))
                continue
            for pin, text in cell.functions.items():
                pins = tuple(cell.inputs)
                if (kind, pin) not in compiled:
                    compiled[kind, pin] = compile_function(text, pins)
                inputs = tuple(nets[name] for name in pins)
                self.gates.append(Gate(compiled[kind, pin], inputs, nets[pin], (kind, pin)))


def _steps_ps(delay_ns: float) -> int:
    return max(1, round(1000 * delay_ns / STEP_PS)) * STEP_PS


class GateSimulation:
    """Simulates ``copies`` of a netlist, each with its own state, which is zero at first.

    ``cycle`` simulates one clock cycle; changes are counted if ``counting`` is set.
    """

    def __init__(self, netlist: Netlist, copies: int) -> None:
        self.netlist, self.mask = netlist, (1 << copies) - 1
        self.copies = copies
        self.counting = False
        self.cycles = 0
        self.latest_ps = 0
        library = netlist.library
        self.value: dict[Net, int] = {"0": 0, "1": self.mask, "x": 0}
        self.toggles: dict[Net, int] = defaultdict(int)
        self.settled: dict[Net, int] = defaultdict(int)
        self.fanout: dict[Net, list[int]] = defaultdict(list)
        self.delay: list[int] = []
        for n, gate in enumerate(netlist.gates):
            for net in set(gate.inputs):
                self.fanout[net].append(n)
            cell, pin = gate.driver
            load = netlist.load[gate.output]
            self.delay.append(_steps_ps(library.cells[cell].delay_ns(pin, load)))
        self.register_delay = [
            [_steps_ps(library.cells[r.cell].delay_ns(pin, netlist.load[net])) for pin, net, _ in r.outputs]
            for r in netlist.registers
        ]
        self.last = [0] * len(netlist.gates)
        self.pending: dict[Net, list[list[int]]] = defaultdict(list)
        for nets in netlist.inputs.values():
            self.value |= dict.fromkeys(nets, 0)
        for register in netlist.registers:
            self.value |= {net: self.mask if inverted else 0 for _, net, inverted in register.outputs}
        self._settle()

    def read(self, name: str) -> list[int]:
        """The bits of a signal, low bit first."""
        return [self.value[net] for net in self.netlist.names[name]]

    def preset(self, name: str, bits: Sequence[int]) -> None:
        """Sets registers by the name of their signal, before the first cycle."""
        wanted = dict(zip(self.netlist.names[name], bits, strict=True))
        for register in self.netlist.registers:
            state = next((wanted[net] ^ (self.mask if inverted else 0)
                          for _, net, inverted in register.outputs if net in wanted), None)  # fmt: skip
            if state is not None:
                for _, net, inverted in register.outputs:
                    self.value[net] = state ^ (self.mask if inverted else 0)
        self._settle()

    def cycle(self, inputs: Mapping[str, Sequence[int]]) -> None:
        """Simulates a clock edge, at which registers take their input values and ports take ``inputs``, and
        all events after it."""
        before = dict(self.value) if self.counting else {}
        events: list[tuple[int, int, Net]] = []
        for register, delays in zip(self.netlist.registers, self.register_delay, strict=True):
            state = self.value[register.data]
            for (_, net, inverted), delay in zip(register.outputs, delays, strict=True):
                self._schedule(events, net, delay, state ^ (self.mask if inverted else 0))
        for name, bits in inputs.items():
            for net, bit in zip(self.netlist.inputs[name], bits, strict=True):
                self._schedule(events, net, INPUT_DELAY_PS, bit)
        self._run(events)
        if self.counting:
            self.cycles += 1
            for net, value in before.items():
                self.settled[net] += (value ^ self.value[net]).bit_count()

    def _schedule(self, events: list[tuple[int, int, Net]], net: Net, time: int, value: int) -> None:
        if value != self.value[net] or self.pending[net]:
            self.pending[net].append([time, value])
            heapq.heappush(events, (time, len(events), net))

    def _run(self, events: list[tuple[int, int, Net]]) -> None:
        gates, value, count = self.netlist.gates, self.value, self.counting
        order = len(events)
        while events:
            now = events[0][0]
            touched: dict[int, None] = {}
            while events and events[0][0] == now:
                net = heapq.heappop(events)[2]
                new = self.pending[net].pop(0)[1]
                change = value[net] ^ new
                if change:
                    value[net] = new
                    if count:
                        self.toggles[net] += change.bit_count()
                    touched.update(dict.fromkeys(self.fanout[net]))
            for n in touched:
                gate = gates[n]
                new = gate.function([value[net] for net in gate.inputs]) & self.mask
                change = new ^ self.last[n]
                if not change:
                    continue
                self.last[n] = new
                output = gate.output
                current = value[output]
                for waiting in self.pending[output]:  # inertia: a copy that changes again drops its event
                    waiting[1] = (waiting[1] & ~change) | (current & change)
                self.pending[output].append([now + self.delay[n], new])
                order += 1
                heapq.heappush(events, (now + self.delay[n], order, output))
            self.latest_ps = max(self.latest_ps, now)

    def _settle(self) -> None:
        """Computes every gate's output from the registers and inputs, without events."""
        waiting = list(range(len(self.netlist.gates)))
        ready = {net for net in self.value if net not in {g.output for g in self.netlist.gates}}
        while waiting:
            later = []
            for n in waiting:
                gate = self.netlist.gates[n]
                if all(net in ready for net in gate.inputs):
                    self.last[n] = gate.function([self.value[net] for net in gate.inputs]) & self.mask
                    self.value[gate.output] = self.last[n]
                    ready.add(gate.output)
                else:
                    later.append(n)
            if len(later) == len(waiting):
                raise ValueError("the netlist has a loop of gates or a net without a driver")
            waiting = later

    def energy(self) -> Energy:
        """The energy of the counted cycles."""
        netlist = self.netlist
        half = 0.5 * netlist.library.voltage**2
        cells = netlist.library.cells
        internal = {g.output: cells[g.driver[0]].output_fj(g.driver[1], netlist.load[g.output])
                    for g in netlist.gates}  # fmt: skip
        registers = clock = 0.0
        for register in netlist.registers:
            cell = cells[register.cell]
            changes = self.settled[register.outputs[0][1]]
            used = {pin: net for pin, net, _ in register.outputs}
            per_change = sum(cell.output_fj(pin, netlist.load[used[pin]] if pin in used else 0.0)
                             for pin in cell.functions)  # fmt: skip
            registers += changes * per_change
            registers += self.toggles.get(register.data, 0) * cell.data_fj(cell.next_state)
            held = self.cycles * self.copies - changes
            clock += changes * cell.clock_fj(True) + held * cell.clock_fj(False)
            clock += self.cycles * self.copies * 2 * half * cell.inputs[cell.clock]
        quiet = sum(
            n * (half * netlist.load[net] + internal.get(net, 0.0)) for net, n in self.settled.items()
        )
        return Energy(
            switching=sum(n * half * netlist.load[net] for net, n in self.toggles.items()),
            internal=sum(n * internal.get(net, 0.0) for net, n in self.toggles.items()),
            registers=registers,
            clock=clock,
            without_glitches=quiet + registers + clock,
            leakage_nw=netlist.leakage_nw,
        )
