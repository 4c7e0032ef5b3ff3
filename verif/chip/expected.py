"""The maps that a chip should send, in a file that the writer of a case leaves for its bench."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

EXPECTED_FILE = "expected.npz"


def save_outputs(maps: Sequence[np.ndarray], folder: Path) -> None:
    """Leaves in ``folder`` every map that goes out, each uint8 [N, C, H, W] for N pictures."""
    np.savez(folder / EXPECTED_FILE, *maps)


def load_outputs(folder: Path) -> tuple[np.ndarray, ...]:
    """The maps that ``save_outputs`` has left."""
    with np.load(folder / EXPECTED_FILE, allow_pickle=False) as found:
        return tuple(found[name] for name in found.files)
