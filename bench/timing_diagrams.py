"""The timing diagrams of docs/integration.md: WaveJSON files drawn as SVG, with --record recorded anew first
from the simulated chip of two by two lanes."""

import argparse
import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import wavedrom

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.common.files import atomic_write
from kestrel.verif.chip.case import run_chip, write_case

FOLDER = Path("docs/timing")
CHIP = ChipConfig(
    replace(
        NAMED["nano"], partial_depth=64, max_width=40, feature_words=(1000, 1000), weight_words=2048,
        table_words=512,
    )
)  # fmt: skip
CASE, SEED = "tiny", 1


def record(folder: Path) -> None:
    """Writes the WaveJSON files of a frame to ``folder``. Raises BenchFailed."""
    with tempfile.TemporaryDirectory(prefix="kestrel-") as temporary:
        workdir = Path(temporary)
        write_case(CHIP, CASE, SEED, workdir)
        run_chip(CHIP, "kestrel.verif.chip.timing_bench", workdir, CASE, SEED)
        for file in sorted(workdir.glob("*.json")):
            with atomic_write(folder / file.name) as path:
                path.write_bytes(file.read_bytes())


def draw(wave_json: str) -> str:
    """The SVG of a WaveJSON text. Equal texts give equal drawings."""
    drawing = wavedrom.render(wave_json)
    assert drawing is not None, "not WaveJSON"
    text = io.StringIO()
    drawing.write(text)
    return text.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--record", action="store_true", help="simulate, and write the WaveJSON files first")
    arguments = parser.parse_args()
    if arguments.record:
        record(FOLDER)
    for file in sorted(FOLDER.glob("*.json")):
        with atomic_write(file.with_suffix(".svg")) as path:
            path.write_text(draw(file.read_text(encoding="utf-8")), encoding="utf-8")
        print(file.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
