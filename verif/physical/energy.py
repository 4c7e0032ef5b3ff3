"""The energy of a kernel unit, and of a plain dot product of nine pairs of 8-bit numbers, for the same work.

The dot product (``DOT_PRODUCT``) replaces the kernel unit. It has the same ports, weights in a shadow and a
working register that are loaded and swapped in the same cycles, two register stages, and one window a cycle.
Its activations are unsigned 8 bits, its weights are signed 8 bits, and its sum is exact. The sums of three
rows lie between the stages, where the fewest registers are needed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.hw.common.place import PREFIX
from kestrel.verif.physical.gates import Energy, GateSimulation, Netlist
from kestrel.verif.physical.liberty import Library
from kestrel.verif.physical.streams import WARM_UP, Pieces

KERNEL_UNIT = "kernel_unit"
DOT_PRODUCT = "dot_product"

_ROWS = "\n".join(
    f"        row_{row} <= "
    + " + ".join(
        f"$signed({{1'b0, window[{8 * tap} +: 8]}}) * $signed(weights[{8 * tap} +: 8])"
        for tap in range(3 * row, 3 * row + 3)
    )
    + ";"
    for row in range(3)
)

DOT_PRODUCT_VERILOG = f"""
module {PREFIX}{DOT_PRODUCT}(
    input clk, input load, input [71:0] kernel, input swap, input [71:0] window,
    output reg signed [19:0] product);
    reg [71:0] shadow, weights;
    reg signed [17:0] row_0, row_1, row_2;
    always @(posedge clk) begin
        if (load) shadow <= kernel;
        if (swap) weights <= shadow;
{_ROWS}
        product <= row_0 + row_1 + row_2;
    end
endmodule
"""


@dataclass(frozen=True)
class UnitEnergy:
    """The mean for a unit and a cycle, in pJ, and its components. ``leakage_uw`` is that of a unit,
    ``latest_ps`` the time of the last event of a cycle, and ``unit_cycles`` the number of values averaged."""

    pj: float
    switching: float
    internal: float
    registers: float
    clock: float
    pj_without_glitches: float
    leakage_uw: float
    latest_ps: int
    unit_cycles: int


def measure(netlist: Path, unit: str, library: Library, pieces: Pieces) -> UnitEnergy:
    """Runs ``unit`` through all pieces at once. Raises ValueError if its results differ from those of the
    recorded engine (the kernel unit) or of the weights (the dot product)."""
    gates = Netlist(netlist, PREFIX + unit, library)
    copies = pieces.load[:, 0].size
    simulation = GateSimulation(gates, copies)
    kernel = unit == KERNEL_UNIT
    registers = (
        {"shadow": pieces.shadow, "digits": pieces.digits, "alpha": pieces.alpha}
        if kernel
        else {"shadow": pieces.shadow_weights, "weights": pieces.working_weights}
    )
    for name, bits in registers.items():
        simulation.preset(name, _pack(bits))
    grid = pieces.load.shape[2:]

    def whole(values: np.ndarray) -> list[int]:
        """[pieces, P_i, bits] or [pieces], repeated for every unit."""
        if values.ndim == 1:
            return _pack(np.broadcast_to(values[:, None, None, None], (len(values), *grid, 1)))
        return _pack(np.broadcast_to(values[:, None], (len(values), *grid, values.shape[-1])))

    for cycle in range(pieces.window.shape[1]):
        simulation.counting = cycle >= WARM_UP
        inputs = {
            "window": whole(pieces.window[:, cycle]),
            "load": _pack(pieces.load[:, cycle, ..., None]),
            "kernel": whole((pieces.kernels if kernel else pieces.weights)[:, cycle]),
            "swap": whole(pieces.swap[:, cycle]),
        }
        if kernel:
            inputs |= {"swap_alpha": whole(pieces.swap_alpha[:, cycle]), "rst": [0]}
        simulation.cycle({name: bits for name, bits in inputs.items() if name in gates.inputs})
    _check(_unpack(simulation.read("product"), copies).reshape(-1, *grid), pieces, kernel)
    return _mean(simulation.energy(), simulation.cycles * copies, simulation.latest_ps)


def _check(products: np.ndarray, pieces: Pieces, kernel: bool) -> None:
    if kernel:
        if (products.sum(axis=2) != pieces.sums).any():
            raise ValueError("the netlist's products do not add up to the sums of the engine's lanes")
        return
    steady = pieces.swap[:, -WARM_UP:].sum(axis=1) == 0  # the working weights are those of the window
    weights = _numbers(_state(pieces), 8)
    weights = weights - 256 * (weights > 127)
    windows = _numbers(pieces.window[:, -WARM_UP], 8)
    expected = (weights * windows[:, None]).sum(axis=-1)
    if (products[steady] != expected[steady]).any():
        raise ValueError("the netlist's dot products are wrong")


def _state(pieces: Pieces) -> np.ndarray:
    """The dot product's working weights at the end of each piece, [pieces, P_o, P_i, bits]."""
    shadow, working = pieces.shadow_weights, pieces.working_weights
    for cycle in range(pieces.window.shape[1]):
        swapped = np.where(pieces.swap[:, cycle, None, None, None], shadow, working)
        shadow = np.where(pieces.load[:, cycle, ..., None], pieces.weights[:, cycle, None], shadow)
        working = swapped
    return working


def _numbers(bits: np.ndarray, width: int) -> np.ndarray:
    fields = bits.reshape(*bits.shape[:-1], -1, width).astype(np.int64)
    return (fields << np.arange(width)).sum(axis=-1)


def _mean(energy: Energy, count: int, latest_ps: int) -> UnitEnergy:
    per_unit = 1e-3 / count  # fJ to pJ
    return UnitEnergy(
        pj=energy.total * per_unit,
        switching=energy.switching * per_unit,
        internal=energy.internal * per_unit,
        registers=energy.registers * per_unit,
        clock=energy.clock * per_unit,
        pj_without_glitches=energy.without_glitches * per_unit,
        leakage_uw=energy.leakage_nw * 1e-3,
        latest_ps=latest_ps,
        unit_cycles=count,
    )


def _pack(values: np.ndarray) -> list[int]:
    """Packs bits [..., bits] into one integer for each bit, with a copy for each other element."""
    columns = values.reshape(-1, values.shape[-1]).T
    return [int.from_bytes(np.packbits(c, bitorder="little").tobytes(), "little") for c in columns]


def _unpack(bits: list[int], copies: int) -> np.ndarray:
    """The signed numbers of the copies."""
    size = -(-copies // 8)
    rows = [np.frombuffer(bit.to_bytes(size, "little"), dtype=np.uint8) for bit in bits]
    columns = np.stack([np.unpackbits(row, bitorder="little")[:copies] for row in rows], axis=1)
    numbers = _numbers(columns, len(bits))[:, 0]
    return numbers - (columns[:, -1].astype(np.int64) << len(bits))
