"""Views of waveforms: which signals GTKWave and Surfer show when they open the file, along a pixel's way."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vcd.gtkw import GTKWSave

from kestrel.sw.common.files import atomic_write

CORE = "kestrel_core"

GROUPS = (
    ("clock", "clk rst"),
    ("frame", "start busy done error kind layer cycles"),
    ("image stream", "s_axis_tvalid s_axis_tready s_axis_tdata s_axis_tlast"),
    ("weights", "weights_en weights_addr loaded starved"),
    ("reader: a pixel and what lies beside it", "reader_active reader_top_bank reader_pixel reader_edges"),
    ("window: its nine taps", "window_ahead window_window"),
    ("array: a sum for each output lane", "array_sums_ahead array_sums"),
    ("accumulator: sums over the input channels", "accumulator_acc_ahead accumulator_acc"),
    ("requantise: bias, shift and clamp", "requantise_y_ahead requantise_y"),
    ("pool", "pool_result pool_data"),
    ("write into the feature memory", "write_en write_part write_bank write_addr write_lanes write_data"),
    ("output stream", "m_axis_tvalid m_axis_tready m_axis_tdata m_axis_tlast"),
)
"""Signals of the core in the order in which a pixel passes them; an engine has those that it needs."""

GTKWAVE, SURFER = ".gtkw", ".sucl"

DECLARATION = re.compile(r"^\s*(?:(?:input|output)\s+)?(?:wire|reg)\s+(\[\d+:0\])?\s*(\w+)\b", re.MULTILINE)


@dataclass(frozen=True)
class Signal:
    """Its place in the hierarchy, and its range as ``[7:0]``, "" of one bit."""

    path: str
    bits: str


Groups = Sequence[tuple[str, Sequence[Signal]]]


def write_views(waves: Path, sources: Sequence[Path], top: str) -> tuple[Path, ...]:
    """Writes a GTKWave save file and a Surfer command file beside ``waves`` (.fst), of a model of module
    ``top`` made from ``sources``. Files that are there stay, as they may have been changed by hand. Returns
    those written."""
    core = next(path for path in sources if path.stem == CORE).read_text(encoding="utf-8")
    ranges = {name: bits or "" for bits, name in DECLARATION.findall(core)}
    scope = f"TOP.{top}.core"
    groups = [(title, [Signal(f"{scope}.{name}", ranges[name]) for name in names.split() if name in ranges])
              for title, names in GROUPS]
    written: list[Path] = []
    for suffix, text in ((GTKWAVE, _for_gtkwave(waves, scope, groups)), (SURFER, _for_surfer(groups))):
        path = waves.with_suffix(suffix)
        if not path.exists():
            with atomic_write(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            written.append(path)
    return tuple(written)


def _for_gtkwave(waves: Path, scope: str, groups: Groups) -> str:
    file = io.StringIO()
    save = GTKWSave(file)
    save.dumpfile(waves.name, abspath=False)
    save.treeopen(f"{scope}.")
    for title, signals in groups:
        save.blank(title)
        for signal in signals:
            save.trace(signal.path + signal.bits)
    return file.getvalue()


def _for_surfer(groups: Groups) -> str:
    lines: list[str] = []
    for title, signals in groups:
        lines.append(f"divider_add {title}")
        lines += [f"variable_add {signal.path}" for signal in signals]
    return "\n".join([*lines, "zoom_fit", ""])
