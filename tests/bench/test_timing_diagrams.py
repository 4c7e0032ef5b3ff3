"""The drawings in docs/timing are those of the recordings beside them."""

from pathlib import Path

import pytest

pytest.importorskip("wavedrom")
ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = sorted((ROOT / "docs" / "timing").glob("*.json"))


@pytest.fixture(scope="module")
def bench(load_script):
    return load_script("timing_diagrams")


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_drawing_is_that_of_its_recording(recording, bench):
    """Breaks if a recording changes without `make diagrams`, or if drawing is not deterministic."""
    drawn = bench.draw(recording.read_text(encoding="utf-8"))
    assert drawn == recording.with_suffix(".svg").read_text(encoding="utf-8")


def test_every_diagram_of_the_page_is_recorded():
    page = (ROOT / "docs" / "integration.md").read_text(encoding="utf-8")
    assert len(RECORDINGS) == 4
    assert all(f"timing/{path.stem}.svg" in page for path in RECORDINGS)
