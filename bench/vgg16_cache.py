"""What training VGG-16's deep layers reads: pool3 of a frozen network and the teacher's maps, of many crops.

A pass is one random crop of every photograph; each is a folder of float16 arrays [photographs, H, W, C], so that
a crop is computed once however often it is trained on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kestrel.cli.output import progress
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.pictures.images import open_image
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.samples.augment import Augmentation, prepare

CROPS = Augmentation(area=(0.25, 1.0), brightness=0.2, contrast=0.2, saturation=0.2)

TEACHER_LAYERS = {"layer2.1": "layer2_1_conv2", "layer3.0": "layer3_0_conv2", "layer3.1": "layer3_1_conv2",
                  "layer4.0": "layer4_0_conv2"}
"""The teacher's maps by name, and the layers that make them."""

POOL3 = "pool3"
MAPS = (POOL3, *TEACHER_LAYERS)

BATCH = 8

Maps = dict[str, torch.Tensor]
"""Maps by name, float32 [N, C, H, W]."""


@dataclass(frozen=True)
class Networks:
    """The frozen layers up to pool3, and the teacher."""

    front: FloatConvs
    teacher: FloatConvs

    @torch.inference_mode()
    def maps(self, pictures: torch.Tensor) -> Maps:
        """Of uint8 RGB [N, H, W, 3]."""
        names = [layer.name for layer in self.teacher.shape.layers]
        numbers = {name: names.index(layer) for name, layer in TEACHER_LAYERS.items()}
        last = len(self.front.shape.layers) - 1
        found = self.teacher(pictures, list(numbers.values()))
        return {POOL3: self.front(pictures, [last])[last]} | {n: found[k] for n, k in numbers.items()}


@dataclass(frozen=True)
class Pass:
    """Memory-mapped maps of one crop of each photograph, float16 [N, H, W, C], by name."""

    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays[POOL3])

    def read(self, rows: Sequence[int], names: Sequence[str] = MAPS) -> Maps:
        rows = sorted(rows)
        return {name: torch.from_numpy(self.arrays[name][rows].astype(np.float32)).permute(0, 3, 1, 2)
                for name in names}


def make_pass(folder: Path, photographs: Sequence[Path], side: int, seed: tuple[int, ...] | None,
              networks: Callable[[], Networks]) -> Pass:
    """Reads the pass in ``folder``, or makes it first: crops of ``side`` x ``side``, or without a seed the
    whole photographs, stretched."""
    if not (folder / "done").exists():
        _write_pass(folder, photographs, side, seed, networks())
        (folder / "done").touch()
    return Pass({name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in MAPS})


def _write_pass(folder: Path, photographs: Sequence[Path], side: int, seed: tuple[int, ...] | None,
                networks: Networks) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    with progress(folder.name, len(photographs)) as advance:
        for start in range(0, len(photographs), BATCH):
            some = photographs[start : start + BATCH]
            crops = None if seed is None else CROPS
            pictures = [prepare(open_image(path), side, side, crops, generator) for path in some]
            for name, found in networks.maps(torch.from_numpy(np.stack(pictures))).items():
                content = found.contiguous(memory_format=LAYOUT).permute(0, 2, 3, 1).half().numpy()
                if name not in arrays:
                    arrays[name] = np.lib.format.open_memmap(
                        folder / f"{name}.npy", "w+", np.float16, (len(photographs), *content.shape[1:]))
                arrays[name][start : start + len(some)] = content
            advance(len(some))
