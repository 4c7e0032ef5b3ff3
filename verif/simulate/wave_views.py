"""Views of waveforms: which signals GTKWave and Surfer show when they open the file, along a pixel's way."""

import re
from collections.abc import Sequence
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


def write_views(waves: Path, sources: Sequence[Path], top: str) -> tuple[Path, ...]:
    """Writes a GTKWave save file and a Surfer command file beside ``waves`` (.fst), of a model of module
    ``top`` made from ``sources``. Files that are there stay, as they may have been changed by hand. Returns
    those written."""
    core = next(path for path in sources if path.stem == CORE).read_text(encoding="utf-8")
    found = [(title, [name + _range(core, name) for name in names.split() if _declared(core, name)])
             for title, names in GROUPS]
    scope = f"TOP.{top}.core"
    written: list[Path] = []
    for suffix, write in ((GTKWAVE, _write_gtkwave), (SURFER, _write_surfer)):
        path = waves.with_suffix(suffix)
        if not path.exists():
            with atomic_write(path) as temporary:
                write(temporary, waves, scope, found)
            written.append(path)
    return tuple(written)


Groups = Sequence[tuple[str, Sequence[str]]]


def _write_gtkwave(path: Path, waves: Path, scope: str, groups: Groups) -> None:
    with path.open("w", encoding="utf-8") as file:
        save = GTKWSave(file)
        save.dumpfile(waves.name, abspath=False)
        save.treeopen(f"{scope}.")
        for title, names in groups:
            save.blank(title)
            for name in names:
                save.trace(f"{scope}.{name}")


def _write_surfer(path: Path, waves: Path, scope: str, groups: Groups) -> None:  # noqa: ARG001
    lines: list[str] = []
    for title, names in groups:
        lines.append(f"divider_add {title}")
        lines += [f"variable_add {scope}.{name.partition('[')[0]}" for name in names]
    path.write_text("\n".join([*lines, "zoom_fit", ""]), encoding="utf-8")


def _declaration(module: str, name: str) -> re.Match[str] | None:
    pattern = rf"^\s*(?:(?:input|output)\s+)?(?:wire|reg)\s+(\[\d+:0\]\s*)?{name}\b"
    return re.search(pattern, module, re.MULTILINE)


def _declared(module: str, name: str) -> bool:
    return _declaration(module, name) is not None


def _range(module: str, name: str) -> str:
    found = _declaration(module, name)
    return "" if found is None or found[1] is None else found[1].strip()
