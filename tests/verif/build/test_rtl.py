"""Verilog in the build cache is generated anew when anything that it comes from changes."""

from importlib import resources
from pathlib import Path

import pytest

from kestrel.verif.blocks.compute.pool_lane import make
from kestrel.verif.blocks.support.run import block_config
from kestrel.verif.build import rtl

HW = Path(str(resources.files("kestrel.hw")))


@pytest.fixture
def copy_of_hw(tmp_path, monkeypatch):
    """A copy of the sources that is taken for the original."""
    copy = tmp_path / "hw"
    for path in HW.rglob("*"):
        if path.suffix in {".py", ".v"}:
            target = copy / path.relative_to(HW)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(rtl.resources, "files", lambda package: copy)
    monkeypatch.setenv("KESTREL_CACHE", str(tmp_path / "cache"))
    yield copy
    rtl._generator.cache_clear()


@pytest.mark.parametrize(
    "changed", ["compute/pool.py", "spec/__init__.py", "spec/timing.py", "emit/primitives/kestrel_rom.v"]
)
def test_a_changed_source_is_another_generator(copy_of_hw, changed):
    rtl._generator.cache_clear()
    before = rtl.block_sources(make, block_config(1, 1, 4))
    assert rtl.block_sources(make, block_config(1, 1, 4)) == before
    path = copy_of_hw / changed
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    rtl._generator.cache_clear()
    assert rtl.block_sources(make, block_config(1, 1, 4)) != before
