"""Bench of the AXI4-Lite slave: a manager with pauses on every channel, answers that wait, resets.

The registers behind it give other data and another fault in every cycle, so that only those of the right
cycle are right.
"""

from collections.abc import Iterator

import cocotb

from kestrel.hw.spec.registers import ADDRESS_BITS, REGISTER_BITS
from kestrel.verif.blocks.chip.axi_lite.model import AxiLite
from kestrel.verif.blocks.support.lockstep import Block, lockstep
from kestrel.verif.blocks.support.simulator import always, fail, pauses, rng

STROBES = REGISTER_BITS // 8
WIDTHS = {
    "s_axil_awaddr": ADDRESS_BITS, "s_axil_awprot": 3, "s_axil_wdata": REGISTER_BITS, "s_axil_wstrb": STROBES,
    "s_axil_araddr": ADDRESS_BITS, "s_axil_arprot": 3, "write_fault": 1, "rdata": REGISTER_BITS,
    "read_fault": 1,
}  # fmt: skip
PAYLOADS = {
    "aw": ("s_axil_awaddr", "s_axil_awprot"), "w": ("s_axil_wdata", "s_axil_wstrb"),
    "ar": ("s_axil_araddr", "s_axil_arprot"),
}  # fmt: skip


@cocotb.test()
async def traffic(dut):
    """What is offered stays until it is taken; each channel pauses in its own way, in turn not at all."""
    source = rng("traffic")
    model = AxiLite()
    answers = {"b": 0, "r": 0}

    def rows() -> Iterator[dict[str, int]]:
        def anything() -> dict[str, int]:
            return {name: source.getrandbits(bits) for name, bits in WIDTHS.items()}

        channels = ("aw", "w", "b", "ar", "r")
        quiet = dict.fromkeys([f"s_axil_{c}{'ready' if c in 'br' else 'valid'}" for c in channels], 0)
        yield anything() | quiet | {"rst": 1}
        for _ in range(60):
            shares = {c: source.choice((0, 0, 0.3, 0.8)) for c in channels}
            goes = {c: pauses(source, share) if share else always for c, share in shares.items()}
            offered: dict[str, dict[str, int]] = {}
            for _ in range(source.randint(30, 90)):
                row = anything()
                for channel, names in PAYLOADS.items():
                    if channel not in offered and goes[channel]():
                        offered[channel] = {name: row[name] for name in names}
                    row |= offered.get(channel, {})
                    row[f"s_axil_{channel}valid"] = int(channel in offered)
                row |= {"s_axil_bready": int(goes["b"]()), "s_axil_rready": int(goes["r"]()), "rst": 0}
                free = {"aw": model.address is None, "w": model.word is None, "ar": model.target is None}
                answers["b"] += row["s_axil_bready"] and model.b is not None
                answers["r"] += row["s_axil_rready"] and model.r is not None
                yield row
                for channel in PAYLOADS:
                    if free[channel]:
                        offered.pop(channel, None)
            if source.random() < 0.4:
                yield anything() | quiet | {"rst": 1}

    await lockstep(Block(dut), model, rows())
    if min(answers.values()) < 100:
        raise fail(f"answers taken: {answers}; at least 100 of each were expected")
