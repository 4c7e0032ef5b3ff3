"""From pictures to descriptors: reading and cropping, the engine, pooling."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw.spec import InputError
from sw.compress.calibrate import Progress, silent
from sw.compressed import CompressedNetwork
from sw.retrieval.descriptor import Descriptors, DescriptorSettings
from sw.retrieval.nip import NipSettings

Skip = Callable[[str, InputError], None]
"""Called with the name of a picture that cannot be read, and why; it is then left out."""


@dataclass(frozen=True)
class Describer:
    """A network on an engine, with everything that makes pictures descriptors. See ``make_describer``."""

    settings: DescriptorSettings

    @property
    def dimension(self) -> int:
        """D of the descriptors."""
        raise NotImplementedError

    def describe_picture(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 RGB [H, W, 3] -> float32 [D]."""
        raise NotImplementedError

    def describe(
        self,
        paths: Sequence[Path],
        names: Sequence[str],
        *,
        progress: Progress = silent,
        skip: Skip | None = None,
        shards: Path | None = None,
        workers: int | None = None,
    ) -> Descriptors:
        """Descriptors of image files, in the order given.

        names: one a file, for the result; skip: told of files that cannot be read (without it the first of
        them raises InputError); shards: folder for finished parts, from which a stopped run continues, gone
        at the end; workers: processes that read and crop (0: none, all in this process; None: as suits).
        """
        raise NotImplementedError


def make_describer(
    network: CompressedNetwork | str | Path,
    *,
    weights: str | None = None,
    engine: str = "reference",
    height: int = 224,
    width: int = 224,
    pooling: str | NipSettings = "nip",
    crops: str | None = None,
    rotations: int = 1,
    whitening: str | Path | None = None,
    fit: str = "stretch",
    resize_filter: str = "bicubic",
    engine_options: Mapping[str, str] | None = None,
) -> Describer:
    """A Describer. Raises InputError.

    weights: the float weights (only for the engine "float"); pooling: a preset (nip, rnip5x, rnip9x,
    rnip14x, rnip3x3, rmac, sqrt), which also decides the crops, or the chain itself; crops: overrides them
    (sw.retrieval.crops); fit "keep": crops keep their proportions inside height x width.
    """
    raise NotImplementedError
