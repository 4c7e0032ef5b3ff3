"""What layers behind a frozen network learn from: the map that they read and maps of a teacher, of many
crops.

A pass is one crop of every photograph, kept as a folder of arrays, so that a crop goes through the frozen
layers and through the teacher once, however often it is trained on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.pictures.images import open_image
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.samples.augment import Augmentation, prepare

CROPS = Augmentation(area=(0.25, 1.0), brightness=0.2, contrast=0.2, saturation=0.2)

FRONT = "front"
"""The name of the map behind the frozen layers."""

BATCH = 8
"""The crops that go through a network at once."""

DONE = "done"
"""A file that says that its pass is complete."""

Maps = dict[str, torch.Tensor]
"""Maps by name, float32 [N, C, H, W]."""


@dataclass(frozen=True)
class Sources:
    """``front`` are the frozen layers; the maps that ``teacher`` makes behind ``layers`` are kept."""

    front: FloatConvs
    teacher: FloatConvs
    layers: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (FRONT, *self.layers)

    @torch.inference_mode()
    def maps(self, pictures: torch.Tensor) -> Maps:
        """The maps of uint8 RGB [N, H, W, 3]."""
        known = [layer.name for layer in self.teacher.shape.layers]
        numbers = {name: known.index(name) for name in self.layers}
        last = len(self.front.shape.layers) - 1
        taught = self.teacher(pictures, list(numbers.values()))
        return {FRONT: self.front(pictures, [last])[last]} | {n: taught[k] for n, k in numbers.items()}


@dataclass(frozen=True)
class Pass:
    """Maps of one crop of each photograph, float16 [N, H, W, C], by name."""

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def read(self, rows: Sequence[int], names: Sequence[str]) -> Maps:
        """The named maps of some crops."""
        return {name: as_maps(self.arrays[name][list(rows)]) for name in names}

    def batches(self, names: Sequence[str], size: int = BATCH) -> Iterator[Maps]:
        """All crops in their order."""
        for start in range(0, len(self), size):
            yield self.read(range(start, min(start + size, len(self))), names)

    def forward(self, read: str, name: str, layer: Callable[[torch.Tensor], torch.Tensor]) -> "Pass":
        """With the map ``name`` that ``layer`` makes of the map ``read``, in memory."""
        with torch.inference_mode():
            content = [as_array(layer(maps[read])) for maps in self.batches([read])]
        return Pass({**self.arrays, name: np.concatenate(content)})

    def without(self, name: str) -> "Pass":
        """Without the map ``name``."""
        return Pass({known: content for known, content in self.arrays.items() if known != name})


def as_maps(content: np.ndarray) -> torch.Tensor:
    """float16 [N, H, W, C] -> float32 [N, C, H, W]."""
    return torch.from_numpy(content.astype(np.float32)).permute(0, 3, 1, 2)


def as_array(maps: torch.Tensor) -> np.ndarray:
    """float32 [N, C, H, W] -> float16 [N, H, W, C]."""
    return maps.contiguous(memory_format=LAYOUT).permute(0, 2, 3, 1).half().numpy()


def make_pass(folder: Path, photographs: Sequence[Path], side: int, seed: tuple[int, ...] | None,
              sources: Sources, progress: Progress = silent) -> Pass:
    """Reads the pass in ``folder``, or makes it first: crops of ``side`` x ``side`` drawn from ``seed``, or
    without a seed the whole photographs, stretched. The values must fit float16."""
    if not (folder / DONE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_pass(folder, photographs, side, seed, sources, progress)
        (folder / DONE).touch()
    return Pass({name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in sources.names})


def _write_pass(folder: Path, photographs: Sequence[Path], side: int, seed: tuple[int, ...] | None,
                sources: Sources, progress: Progress) -> None:
    generator = np.random.default_rng(seed)
    crops = None if seed is None else CROPS
    arrays: dict[str, np.ndarray] = {}
    with progress(folder.name, len(photographs)) as advance:
        for start in range(0, len(photographs), BATCH):
            some = photographs[start : start + BATCH]
            pictures = [prepare(open_image(path), side, side, crops, generator) for path in some]
            for name, found in sources.maps(torch.from_numpy(np.stack(pictures))).items():
                content = as_array(found)
                if name not in arrays:
                    arrays[name] = np.lib.format.open_memmap(
                        folder / f"{name}.npy", "w+", np.float16, (len(photographs), *content.shape[1:]))
                arrays[name][start : start + len(some)] = content
            advance(len(some))
