"""From pictures to descriptors: reading and cropping, the backend, pooling.

Pictures are read and cropped in worker processes, crops go through the backend in batches, whichever pictures
they belong to, and a thread pools one batch's features while the backend computes the next.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.common.places import common_base
from kestrel.sw.common.store import Place
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.retrieval.describe.backends import (
    Backend,
    BackendRequest,
    MapsBackend,
    least_side,
    make_backend,
)
from kestrel.sw.retrieval.describe.batches import Batches
from kestrel.sw.retrieval.describe.crops import PRESETS, CropSettings, Inputs, cut_crops, join_views
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings
from kestrel.sw.retrieval.describe.maps import SEPARATOR, chosen_maps, map_names
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.reading import read_inputs, usual_workers
from kestrel.sw.retrieval.describe.shards import Shards
from kestrel.sw.retrieval.describe.whitening import (
    MapWhitening,
    Scatter,
    Whitening,
    fit_maps,
    load_whitening,
)
from kestrel.sw.retrieval.pooling.nip import NipSettings, combine, crop_vectors, join

MOSAIC_LEVELS = (1, 2, 3, 4, 5)
"""A mosaic's map is several times as large as a crop's, and so are the smallest regions that pay."""

POOLINGS: dict[str, tuple[str, NipSettings]] = {
    **{name: (crops, NipSettings()) for name, crops in PRESETS.items()},
    "rnip18m": (PRESETS["rnip18m"], NipSettings(levels=MOSAIC_LEVELS)),
    "rmac": ("whole", NipSettings(moment="max")),
    "sqrt": ("whole", NipSettings(levels=())),
}
"""Name -> crops and chain. rmac: maxima over the same regions; sqrt: one root mean square over the map."""

MapVectors = tuple[np.ndarray, ...]
"""One array for each map that is pooled."""

Result = TypeVar("Result")

Skip = Callable[[str, InputError], None]
"""Called with the name of a picture that cannot be used, and why; it is then left out."""


@dataclass(frozen=True)
class Recipe:
    """What a Describer is made from, so that another process can make the same."""

    network: CompressedNetwork | str | Path
    options: DescriptorOptions


@dataclass(frozen=True)
class Describer:
    """A network on a backend, with everything that makes pictures descriptors. See ``make_describer``.

    settings: for the file; dimensions: of each map that is pooled; layers: whose maps are pooled, () for the
    last one's alone; recipe: that it was made from.
    """

    settings: DescriptorSettings
    dimensions: tuple[int, ...]
    backend: Backend
    crops: CropSettings
    chain: NipSettings
    whitening: Whitening | None
    layers: tuple[int, ...] = ()
    recipe: Recipe | None = None

    @property
    def dimension(self) -> int:
        """D of the descriptors."""
        return sum(self.dimensions)

    def describe_picture(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 RGB [H, W, 3] -> float32 [D]. Raises InputError."""
        return next(self.describe_pictures([rgb]))

    def describe_pictures(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pictures in memory, uint8 RGB [H, W, 3] of any sizes -> float32 [D] each. Raises InputError."""
        inputs = ((number, cut_crops(rgb, self.crops)) for number, rgb in enumerate(pictures))
        return (vector for _, vector in self._pool(inputs, self._combine))

    def regions_of_pictures(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """As ``describe_pictures``, the vectors of all regions of all crops of each: float64 [R, D]. Raises
        InputError where several maps are pooled."""
        self._check_one_map()
        return (vectors for (vectors,) in self.map_regions_of_pictures(pictures))

    def map_regions_of_pictures(self, pictures: Iterable[np.ndarray]) -> Iterator[MapVectors]:
        """As ``regions_of_pictures``, float64 [R, D] for each map that is pooled."""
        inputs = ((number, cut_crops(rgb, self.crops)) for number, rgb in enumerate(pictures))
        return (vectors for _, vectors in self._pool(inputs, _regions))

    def describe_maps(self, maps: Sequence[Sequence[np.ndarray]], inputs: Inputs) -> np.ndarray:
        """As ``describe_picture``, from the backend's maps of a picture's crops, those of one layer after
        the other."""
        crops: list[MapVectors] = list(zip(*maps, strict=True))
        views = _joined(crops, inputs) if self.crops.joins else crops
        return self._combine([self._pooled(view) for view in views], inputs)

    def describe(
        self,
        paths: Sequence[Path],
        names: Sequence[str],
        *,
        progress: Progress = silent,
        skip: Skip | None = None,
        shards: Place | None = None,
        workers: int | None = None,
    ) -> Descriptors:
        """Descriptors of image files, in the order given.

        names: one a file, for the result; skip: told of files that cannot be used (without it the first of
        them raises InputError); shards: place for finished parts, from which a stopped run continues
        (``sw.retrieval.describe.shards.remove_shards`` takes it away once the result is safe); workers:
        processes that read and crop (0: none, all in this process; None: as suits).
        Raises InputError, also when no picture is left.
        """
        vectors: dict[int, np.ndarray] = {}
        parts = None if shards is None else Shards(shards, self.settings)
        todo: list[int] = []
        for row, (path, name) in enumerate(zip(paths, names, strict=True)):
            known = parts.find(path, name) if parts is not None and path.is_file() else None
            if known is None:
                todo.append(row)
            else:
                vectors[row] = known
        try:
            with progress("describing", len(paths)) as advance:
                advance(len(vectors))
                for row, vector in self._run(paths, names, todo, self._combine, skip, workers, advance):
                    vectors[row] = vector
                    if parts is not None:
                        parts.add(paths[row], names[row], vector)
        finally:
            if parts is not None:
                parts.flush()
        if not vectors:
            raise InputError(f"no picture that can be described among {len(paths)}; allowed: at least one")
        rows = sorted(vectors)
        return Descriptors(self.settings, tuple(names[row] for row in rows),
                           np.stack([vectors[row] for row in rows]),
                           folder=common_base([paths[row] for row in rows], [names[row] for row in rows]))

    def vectors(self, paths: Sequence[Path], names: Sequence[str],
                skip: Skip) -> list[tuple[int, np.ndarray]]:
        """(number, float32 [D]) of the files that can be used, read in this process; ``skip`` is told of the
        others."""
        return list(self._run(paths, names, range(len(paths)), self._combine, skip, 0, lambda steps: None))

    def train_whitening(
        self,
        paths: Sequence[Path],
        names: Sequence[str],
        *,
        dimension: int | None = None,
        mode: str = "roi",
        progress: Progress = silent,
        skip: Skip | None = None,
        workers: int | None = None,
    ) -> Whitening:
        """A whitening to ``dimension`` (None: as many as possible) trained on the vectors of all regions of
        all crops of the files, for descriptors made as this Describer's. Raises InputError."""
        with progress("vectors of regions", len(paths)) as advance:
            todo = range(len(paths))
            found = self._run(paths, names, todo, _regions, skip, workers, advance)
            return self.fit_whitening((vectors for _, vectors in found), dimension, mode)

    def fit_whitening(self, vectors: Iterable[MapVectors], dimension: int | None, mode: str) -> Whitening:
        """As ``train_whitening``, from the vectors of the regions of each picture, float64 [R, D] for each
        map."""
        if self.whitening is not None:
            raise InputError("whitening: cannot be trained on whitened vectors; allowed: no other whitening")
        scatters = [Scatter(size) for size in self.dimensions]
        for regions in vectors:
            for scatter, found in zip(scatters, regions, strict=True):
                scatter.add(found)
        return fit_maps(scatters, dimension, mode, self.settings)

    def _run(
        self,
        paths: Sequence[Path],
        names: Sequence[str],
        rows: Sequence[int],
        finish: "Callable[[Sequence[MapVectors], Inputs], Result]",
        skip: Skip | None,
        workers: int | None,
        advance: Callable[[int], None],
    ) -> "Iterator[tuple[int, Result]]":
        """(row, what ``finish`` makes of its crops) for the files of ``rows``, in their order."""
        workers = usual_workers(len(rows)) if workers is None else workers

        def readable() -> Iterator[tuple[int, Inputs]]:
            found = read_inputs([paths[row] for row in rows], self.crops, workers)
            for row, inputs in zip(rows, found, strict=True):
                if not isinstance(inputs, InputError):
                    for remark in inputs.remarks:  # from another process, perhaps
                        warnings.warn(InputWarning(paths[row], remark), stacklevel=2)
                    yield row, inputs
                    continue
                if skip is None:
                    raise inputs
                skip(names[row], inputs)
                advance(1)

        for row, result in self._pool(readable(), finish):
            advance(1)
            yield row, result

    def _pool(
        self, inputs: Iterable[tuple[int, Inputs]],
        finish: "Callable[[Sequence[MapVectors], Inputs], Result]",
    ) -> "Iterator[tuple[int, Result]]":
        source = _Maps(self.backend, self.layers)
        if not self.crops.joins:
            return Batches(source, self._pooled, finish).run(inputs)

        def finish_joined(maps: Sequence[MapVectors], picture: Inputs) -> Result:
            return finish([self._pooled(view) for view in _joined(maps, picture)], picture)

        return Batches(source, _unchanged, finish_joined).run(inputs)

    @property
    def _whitenings(self) -> Sequence[MapWhitening | None]:
        """One for each map that is pooled."""
        return [None] * len(self.dimensions) if self.whitening is None else self.whitening.maps

    def _check_one_map(self) -> None:
        if len(self.layers) > 1:
            raise InputError(f"maps {self.settings.maps}; allowed here: one map")

    def _pooled(self, maps: MapVectors) -> MapVectors:
        """A view's maps [C, h, w], one for each layer, as vectors of their regions."""
        return tuple(crop_vectors(features, self.chain, whitening)
                     for features, whitening in zip(maps, self._whitenings, strict=True))

    def _combine(self, vectors: Sequence[MapVectors], inputs: Inputs) -> np.ndarray:
        views = len(inputs.weights)
        parts: list[np.ndarray] = []
        for number, whitening in enumerate(self._whitenings):
            rotations = [[view[number] for view in vectors[n * views : (n + 1) * views]]
                         for n in range(inputs.rotations)]
            parts.append(combine(rotations, inputs.weights, self.chain, whitening))
        return parts[0] if len(parts) == 1 else join(parts)


@dataclass(frozen=True)
class _Maps:
    """A backend as Batches takes it: of each picture the maps of ``layers``, () for the last one's."""

    backend: Backend
    layers: tuple[int, ...]

    def batch(self, height: int, width: int) -> int:
        return self.backend.batch(height, width)

    def features(self, pictures: Sequence[np.ndarray]) -> Iterable[MapVectors]:
        if not self.layers:
            return ((features,) for features in self.backend.features(pictures))
        assert isinstance(self.backend, MapsBackend), "checked before"
        return zip(*self.backend.maps(pictures, self.layers), strict=True)


def _joined(maps: Sequence[MapVectors], inputs: Inputs) -> Iterator[MapVectors]:
    """Maps of the crops -> of the views (``join_views``), layer by layer."""
    return zip(*(join_views(of_layer, inputs) for of_layer in zip(*maps, strict=True)), strict=True)


def _unchanged(maps: MapVectors) -> MapVectors:
    return maps


def _regions(vectors: Sequence[MapVectors], inputs: Inputs) -> MapVectors:  # noqa: ARG001
    return tuple(np.concatenate(of_map) for of_map in zip(*vectors, strict=True))


def make_describer(
    network: CompressedNetwork | str | Path, options: DescriptorOptions | None = None
) -> Describer:
    """A Describer of a network in memory or in a file, by ``options`` (None: all as they are by default).
    Raises InputError."""
    options = options or DescriptorOptions()
    recipe = Recipe(network, options)
    made_with = network.name if isinstance(network, CompressedNetwork) else str(network)
    if options.weights is not None:
        made_with = f"{made_with} with {options.weights}"
    if not isinstance(network, CompressedNetwork):
        network = load_network(network)
    preset, chain = find_pooling(options.pooling)
    chain = options.chain or chain
    crops = options.crops or preset
    cropping = CropSettings(PRESETS.get(crops, crops), options.height, options.width, options.rotations,
                            options.fit, options.resize_filter, least_side(network))
    backend = make_backend(options.backend, BackendRequest(network, options.height, options.width,
                                                           options.weights, options.backend_options))
    shapes = [layer.shape for layer in network.layers]
    layers = chosen_maps(network.name, shapes, options.pool_maps)
    if layers and not isinstance(backend, MapsBackend):
        raise InputError(f"backend {options.backend}: maps {', '.join(options.pool_maps)}; allowed: the last "
                         "layer's alone, which is all that it gives")
    whitening = options.whitening
    name = "given" if isinstance(whitening, Whitening) else str(whitening)
    if whitening is not None and not isinstance(whitening, Whitening):
        whitening = load_whitening(whitening)
    settings = DescriptorSettings(
        network=backend.digest, arithmetic=backend.arithmetic, height=options.height, width=options.width,
        preprocessing=network.preprocessing, crops=cropping.crops, pooling=chain.text,
        rotations=options.rotations, whitening="" if whitening is None else whitening.digest,
        resize=cropping.resize_text, maps=SEPARATOR.join(map_names(shapes)[number] for number in layers),
    )  # fmt: skip
    dimensions = tuple(shapes[number].out_channels for number in layers or (-1,))
    if whitening is not None:
        whitening.check(settings, name, made_with)
        dimensions = tuple(part.dimension for part in whitening.maps)
    return Describer(settings, dimensions, backend, cropping, chain, whitening, layers, recipe)


def find_pooling(name: str) -> tuple[str, NipSettings]:
    """Crops and chain of a preset. Raises InputError."""
    if name not in POOLINGS:
        raise InputError(f"pooling {name!r}; allowed: {', '.join(POOLINGS)}")
    return POOLINGS[name]
