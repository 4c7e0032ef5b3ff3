"""Records the chip's ports for the timing diagrams of the documentation, as WaveJSON in the run's folder."""

import json
from pathlib import Path

import cocotb
from cocotb.triggers import FallingEdge

from kestrel.verif.blocks.support.simulator import start
from kestrel.verif.chip.ports import Chip

AXIL_WRITE = ("awvalid", "awready", "awaddr", "wvalid", "wready", "wdata", "bvalid", "bready")
AXIL_READ = ("arvalid", "arready", "araddr", "rvalid", "rready", "rdata")
IMAGE = ("s_axis_tvalid", "s_axis_tready", "s_axis_tlast")
OUTPUT = ("m_axis_tvalid", "m_axis_tready", "m_axis_tlast", "irq")
SIGNALS = (
    "rst", *(f"s_axil_{name}" for name in (*AXIL_WRITE, *AXIL_READ)), *IMAGE, *OUTPUT,
)  # fmt: skip


def wave(rows, name):
    """The line of a signal. After a gap the first value is written out again."""
    bus = any(row is not None and name in row and isinstance(row[name], str) for row in rows)
    text, labels, before = "", [], None
    for row in rows:
        if row is None:
            text += "|"
            before = None
        elif row[name] == before:
            text += "."
        else:
            before = row[name]
            text += "=" if bus else str(before)
            labels += [before] if bus else []
    line = {"name": name, "wave": text}
    return {**line, "data": labels} if bus else line


def diagram(title, rows, names):
    shown = [{"name": "clk", "wave": "p" + "".join("|" if row is None else "." for row in rows[1:])}]
    shown += [wave(rows, name) for name in names]
    return {"signal": shown, "head": {"text": title}, "config": {"hscale": 1, "skin": "narrow"}}


@cocotb.test()
async def recording(dut):
    chip = Chip(dut)
    rows, marks = [], {}

    async def record():
        while True:
            await FallingEdge(dut.clk)
            row = {}
            for name in SIGNALS:
                value = int(getattr(dut, name).value)
                row[name] = f"{value:x}" if name.endswith(("addr", "data")) else value
            rows.append(row)

    cocotb.start_soon(record())
    await start(dut)
    await chip.idle()
    await chip.write("irq_enable", done=1, error=1)
    marks["start"] = len(rows)
    await chip.send(0)
    await chip.write("control", start=1)
    await chip.interrupt()
    await chip.features(0)
    await chip.cycles(4)

    def first(name, value, since=0):
        return next(n for n in range(since, len(rows)) if rows[n][name] == value)

    taken = [n for n, row in enumerate(rows) if row["s_axis_tvalid"] and row["s_axis_tready"]]
    last_in = next(n for n in taken if rows[n]["s_axis_tlast"])
    first_out = first("m_axis_tvalid", 1, last_in)
    last_out = first("m_axis_tlast", 1, first_out)
    irq = first("irq", 1)
    low = first("irq", 0, irq)
    writes = [f"s_axil_{name}" for name in AXIL_WRITE]
    reads = [f"s_axil_{name}" for name in AXIL_READ]
    reset_end = first("rst", 0, first("rst", 1))
    status = next(n for n, r in enumerate(rows) if r["s_axil_rvalid"] and int(r["s_axil_rdata"], 16) & 1 == 0)
    diagrams = {
        "reset": diagram(
            "reset; the table's header is read; status (0x024) is polled until busy, bit 0, is 0",
            rows[reset_end - 2 : status + 2], ["rst", *reads],
        ),
        "start": diagram(
            "start: 1 is written to control (0x020); two beats wait already, the core takes the rest",
            rows[marks["start"] : taken[4] + 3], [*writes, *IMAGE],
        ),
        "frame": diagram(
            "frame: the image ends, the layers run, the features leave, irq",
            [*rows[last_in - 4 : last_in + 3], None, *rows[first_out - 2 : first_out + 4], None,
             *rows[last_out - 3 : irq + 3]], [*IMAGE, *OUTPUT],
        ),
        "interrupt": diagram(
            "interrupt: irq_status (0x030) is read and the bits that are set are written back",
            rows[irq - 3 : low + 3], ["irq", *reads, *writes],
        ),
    }  # fmt: skip
    for name, content in diagrams.items():
        Path(f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")
