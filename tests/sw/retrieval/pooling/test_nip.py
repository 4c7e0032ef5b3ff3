"""The pooling chain, against a direct implementation and for what it promises."""

from dataclasses import dataclass

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.pooling.grid import roi_grid
from kestrel.sw.retrieval.pooling.nip import NipSettings, combine, crop_vectors, region_vectors


def unit(x):
    norm = np.linalg.norm(x)
    return x / norm if norm else x


def direct_region(x, moment):
    """One channel's pixels inside a region -> one number, in the words of the definition."""
    x = x.astype(float).ravel()
    return {
        "sqrt": np.sqrt(np.mean(x**2)),
        "sqrt-sum": np.sqrt(np.sum(x**2)),
        "std": np.sqrt(np.mean((x - x.mean()) ** 2)),
        "mean": x.mean(),
        "max": x.max(),
    }[moment]


def direct(rotations, settings, weights, matrix, mean, mode):
    """Maps [rotation][crop] -> descriptor: the whole chain, a region and a channel at a time."""
    best = []
    for crops in rotations:
        rows, shares = [], []
        for features, weight in zip(crops, weights, strict=True):
            if settings.border and min(features.shape[1:]) > 2 * settings.border:
                features = features[:, 1:-1, 1:-1]  # noqa: PLW2901 (the only border tested here)
            height, width = features.shape[1:]
            if settings.levels:
                grid = [(r.top, r.left, r.height, r.width) for r in roi_grid(height, width, settings.levels)]
            else:
                grid = [(0, 0, height, width)]
            for top, left, h, w in grid:
                inside = features[:, top : top + h, left : left + w]
                vector = np.array([direct_region(channel, settings.moment) for channel in inside])
                if settings.region_norm:
                    vector = unit(vector)
                if mode == "roi":
                    vector = unit(matrix @ (vector - mean))
                rows.append(vector)
                shares.append(weight)
        average = np.average(rows, axis=0, weights=shares)
        if settings.across == "std":
            average = np.sqrt(np.average((np.array(rows) - average) ** 2, axis=0, weights=shares))
        if mode == "after":
            average = unit(matrix @ (average - mean))
        best.append(average)
    return unit(np.max(best, axis=0))


@dataclass
class Linear:
    mode: str
    matrix: np.ndarray
    mean: np.ndarray

    def transform(self, vectors):
        return (vectors - self.mean) @ self.matrix.T


def chain(rotations, settings, weights, whitening=None):
    return combine([[crop_vectors(c, settings, whitening) for c in crops] for crops in rotations], weights,
                   settings, whitening)


CHAINS = [
    NipSettings(),
    NipSettings(levels=()),
    NipSettings(levels=(2,), region_norm=False),
    NipSettings(moment="sqrt-sum", region_norm=False),
    NipSettings(moment="std"),
    NipSettings(moment="mean", across="std"),
    NipSettings(moment="max"),
    NipSettings(border=1),
]


@pytest.mark.parametrize("settings", CHAINS, ids=lambda s: s.text)
@pytest.mark.parametrize("mode", [None, "roi", "after"])
@pytest.mark.parametrize("kind", ["integer", "float"])
def test_against_a_direct_implementation(settings, mode, kind, rng):
    for rotations, crops, size in ((1, 1, (7, 7)), (4, 1, (5, 8)), (2, 3, (4, 4)), (1, 2, (1, 1))):
        maps = rng.integers(0, 256, (rotations, crops, 6, *size)).astype(np.uint8)
        maps[rng.random(maps.shape) < 0.4] = 0
        if kind == "float":
            maps = (maps * rng.random(maps.shape)).astype(np.float32)
        matrix, mean = rng.normal(size=(4, 6)), rng.random(6)
        weights = [1.0, 2.0, 0.5][:crops]
        whitening = None if mode is None else Linear(mode, matrix, mean)
        found = chain(maps, settings, weights, whitening)
        assert found.dtype == np.float32
        wanted = direct(maps, settings, weights, matrix, mean, mode)
        # float32 rounds the result, float64 sums may differ in their order: a few units of float32; the
        # standard deviation loses half its digits where a region is nearly flat.
        np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-7)


def test_a_region_of_zeros_is_zero_for_floats_too(rng):
    """Its sum is a difference of sums, whose rounding would else be taken for a direction."""
    for _ in range(20):
        features = (1000 * rng.random((6, 9, 9))).astype(np.float32)
        features[:, 3:6, 3:6] = 0
        zero = [n for n, r in enumerate(roi_grid(9, 9, (9,))) if {r.top, r.left} <= {3, 4, 5}]
        assert len(zero) == 9
        for moment in ("sqrt", "sqrt-sum", "mean", "std"):
            assert (region_vectors(features, NipSettings(moment, (9,)))[zero] == 0).all()


def test_sums_of_integers_are_exact(rng):
    """The largest map there may be, of the greatest activation: 2**24 pixels would overflow 32 bits."""
    features = np.full((1, 2048, 1024), 255, np.uint8)
    settings = NipSettings(levels=(), region_norm=False)
    assert region_vectors(features, settings)[0, 0] == 255.0
    assert region_vectors(features, NipSettings("std", (), False))[0, 0] == 0.0
    features = rng.integers(0, 256, (3, 41, 57)).astype(np.uint8)
    squares = (features.astype(int) ** 2).sum(axis=(1, 2))
    np.testing.assert_array_equal(region_vectors(features, NipSettings("sqrt-sum", (), False))[0],
                                  np.sqrt(squares))


def test_scale_does_not_matter(rng):
    """So that integers need not be multiplied by their scale, whatever it is."""
    features = rng.integers(0, 128, (5, 7, 7)).astype(np.uint8)
    for settings in CHAINS:
        np.testing.assert_allclose(chain([[features]], settings, [1.0]),
                                   chain([[features * np.uint8(2)]], settings, [1.0]), rtol=1e-6)


def test_layout_in_memory_does_not_matter(rng):
    features = rng.integers(0, 256, (16, 9, 9)).astype(np.uint8)
    other = np.ascontiguousarray(features.transpose(1, 2, 0)).transpose(2, 0, 1)
    for settings in CHAINS:
        np.testing.assert_array_equal(chain([[features]], settings, [1.0]),
                                      chain([[other]], settings, [1.0]))


def test_dead_features_give_zero_and_not_nan():
    dead = np.zeros((4, 7, 7), np.uint8)
    for settings in CHAINS:
        np.testing.assert_array_equal(chain([[dead]], settings, [1.0]), np.zeros(4))


def test_maximum_over_rotations_undoes_a_rotation_of_the_map(rng):
    """All four rotations of the features, in whatever order they come, give one descriptor."""
    features = rng.integers(0, 256, (6, 7, 7)).astype(np.uint8)
    turned = [np.rot90(features, n, axes=(1, 2)) for n in range(4)]
    a = chain([[turned[n]] for n in (0, 1, 2, 3)], NipSettings(), [1.0])
    b = chain([[turned[n]] for n in (2, 3, 0, 1)], NipSettings(), [1.0])
    np.testing.assert_array_equal(a, b)


def test_a_border_never_leaves_nothing(rng):
    features = rng.integers(0, 256, (3, 4, 7)).astype(np.uint8)
    found = region_vectors(features, NipSettings("mean", (), False, border=9))
    np.testing.assert_allclose(found[0], features[:, 1:3, 1:6].mean(axis=(1, 2)))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"border": -1}, r"border -1; allowed: 0\.\.64"),
    ({"moment": "cube"}, "moment 'cube'; allowed: sqrt, sqrt-sum, std, mean, max"),
    ({"across": "max"}, "moment over regions 'max'; allowed: mean, std"),
    ({"levels": (0,)}, r"levels 0; allowed: each 1\.\.16"),
    ({"levels": (1, 17)}, r"levels 1\+17"),
])
def test_unknown_settings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        NipSettings(**arguments)


def test_every_setting_shows_in_the_text():
    texts = {s.text for s in [*CHAINS, NipSettings(levels=(1, 2)), NipSettings(across="std")]}
    assert len(texts) == len(CHAINS) + 2
