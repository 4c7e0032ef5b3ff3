"""Scalars from tables: how tables and masks are chosen, and that every rule keeps to them."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.hw.spec.widths import table_entries
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.fit import FIT_RULES, Fit, fit_masks
from kestrel.sw.compress.mask_plan import parse_mask_plan, parse_scalar_plan
from kestrel.sw.compress.output_fit import DAMPING, ChannelFit
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.compress.refine import WindowFit, nearest_masks
from kestrel.sw.compress.scalar_tables import (
    choose_entries,
    fit_table,
    in_table,
    nearest_entries,
    whole_table,
)
from kestrel.sw.model.compressed import load_network, same, save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.weights import random_network

NARROW = (4, 3, 2)
CHANNELS = 6


def kernels(rng: np.random.Generator, outputs: int = 24) -> np.ndarray:
    """Weights [outputs, CHANNELS, 3, 3] of kernels of different sizes."""
    size = np.exp(0.6 * rng.standard_normal((outputs, CHANNELS, 1, 1)))
    return rng.standard_normal((outputs, CHANNELS, 3, 3)) * size


def squared(weight: np.ndarray, fit: Fit) -> float:
    return float(((weight - fit.weights()) ** 2).sum())


def test_a_table_of_all_values_is_exact(rng: np.random.Generator) -> None:
    values = rng.choice(rng.standard_normal(4), size=100)
    assert np.array_equal(fit_table(values, np.ones(100), 2), np.unique(values))
    assert np.array_equal(in_table(values, np.ones(100), 2), values)


def test_no_entry_can_move_and_none_is_far_from_the_best_table(rng: np.random.Generator) -> None:
    """Against the best of all ways to cut 14 sorted values into four groups: of 20 draws together at most
    twice its error."""
    least = reached = 0.0
    for _ in range(20):
        values, weight = np.sort(rng.gamma(2.0, size=14)), rng.uniform(0.1, 2, 14)

        def cost(cuts: tuple[int, ...], values: np.ndarray = values, weight: np.ndarray = weight) -> float:
            parts = zip(np.split(values, cuts), np.split(weight, cuts), strict=True)
            return sum(float((w * (v - np.average(v, weights=w)) ** 2).sum()) for v, w in parts)

        best = min(cost(cuts) for cuts in combinations(range(1, 14), 3))
        table = fit_table(values, weight, 2)
        chosen = nearest_entries(values, table)
        found = float((weight * (values - table[chosen]) ** 2).sum())
        assert found >= best - 1e-9
        least, reached = least + best, reached + found
        for n in range(len(table)):
            mine = chosen == n
            assert table[n] == pytest.approx(np.average(values[mine], weights=weight[mine]))
    assert reached <= 2 * least


@pytest.mark.parametrize("mask_bits", MASK_BITS)
@pytest.mark.parametrize("scalar_bits", NARROW)
def test_masks_chosen_with_the_table_are_never_worse_than_chosen_before(
    mask_bits: int, scalar_bits: int, rng: np.random.Generator
) -> None:
    weight = kernels(rng)
    alone = fit_masks(weight, mask_bits)
    norm = (alone.mask.astype(float) ** 2).sum(axis=(2, 3))
    after = Fit(alone.mask, in_table(alone.alpha, norm, scalar_bits))
    found = fit_masks(weight, mask_bits, scalar_bits=scalar_bits)
    assert len(np.unique(found.alpha)) <= table_entries(scalar_bits)
    assert set(np.unique(found.mask)) <= set(mask_values(mask_bits))
    assert squared(weight, alone) <= squared(weight, found) <= squared(weight, after) * (1 + 1e-12)
    # With several levels the masks make up for scalars that are far from the kernel's own.
    if mask_bits > 2 and scalar_bits == 2:
        assert squared(weight, found) < 0.9 * squared(weight, after)


@pytest.mark.parametrize("mask_bits", [1, 2, 3])
def test_every_kernel_takes_the_entry_of_its_least_error(mask_bits: int, rng: np.random.Generator) -> None:
    """By brute force over entries, with every tap's nearest level."""
    weight, table = rng.standard_normal((40, 9)), np.sort(rng.uniform(0.05, 1.5, 8))
    unit = rng.uniform(0.5, 2, 40)
    mask, number = choose_entries(torch.from_numpy(weight), mask_bits, torch.from_numpy(table),
                                  torch.from_numpy(unit))  # fmt: skip
    levels = np.array(mask_values(mask_bits))
    for w, u, m, n in zip(weight, unit, mask.numpy(), number.numpy(), strict=True):
        errors = [(np.abs(w[:, None] - levels * entry * u).min(axis=1) ** 2).sum() for entry in table]
        assert errors[n] == pytest.approx(min(errors))
        assert ((w - m * table[n] * u) ** 2).sum() == pytest.approx(min(errors))


def output_error(weight: np.ndarray, q: np.ndarray, moment: np.ndarray) -> float:
    damped = moment + np.eye(len(moment)) * DAMPING * np.trace(moment) / len(moment)
    e = (weight - q).reshape(len(weight), -1)
    return float(np.einsum("oi,ij,oj->", e, damped, e))


@pytest.mark.parametrize("mask_bits", [1, 2, 3])
@pytest.mark.parametrize("scalar_bits", NARROW)
@pytest.mark.parametrize("gains", [False, True])
def test_the_output_rule_is_not_worse_than_choosing_after(
    mask_bits: int, scalar_bits: int, gains: bool, rng: np.random.Generator
) -> None:
    """With and without units that differ by channel; real scalars and whole ones."""
    weight = kernels(rng, 10)
    common = rng.standard_normal((1500, 1))
    windows = np.maximum(common + 0.7 * rng.standard_normal((1500, 9 * CHANNELS)), 0)
    moment = windows.T @ windows / len(windows)
    gain = rng.uniform(0.5, 2, CHANNELS) if gains else np.ones(CHANNELS)
    channels = ChannelFit(moment)
    start = fit_masks(weight, mask_bits)
    alone = channels.fit(weight, start, mask_bits)
    own = (alone.mask.astype(float) ** 2).sum(axis=(2, 3))
    after = Fit(alone.mask, in_table(alone.alpha * gain, own / gain**2, scalar_bits) / gain)
    found = channels.fit(weight, start, mask_bits, scalar_bits, gain if gains else None)
    assert len(np.unique((found.alpha * gain).round(9))) <= table_entries(scalar_bits)
    errors = [output_error(weight, fit.weights(), moment) for fit in (after, found)]
    # Both are local optima, so now and then the other one is better, by a hair.
    assert errors[1] < 1.01 * errors[0]

    unit = float((found.alpha * gain).max()) / 200 / gain
    mask, whole = channels(weight, found, unit, mask_bits)
    assert np.array_equal(whole, np.floor(whole))
    assert len(np.unique(whole)) <= table_entries(scalar_bits)
    rounded = np.floor(found.alpha / unit + 0.5) * unit
    before = output_error(weight, found.mask * rounded[:, :, None, None], moment)
    assert output_error(weight, mask * (whole * unit)[:, :, None, None], moment) <= before * (1 + 1e-9)


@pytest.mark.parametrize("scalar_bits", NARROW)
def test_a_first_layer_keeps_to_its_table(scalar_bits: int, rng: np.random.Generator) -> None:
    """Its units differ by channel, and its moves are pairs; they may only lower the error."""
    weight = rng.standard_normal((5, 3, 3, 3))
    windows = np.abs(rng.standard_normal((400, 27)) + 2 * rng.standard_normal((400, 1)))
    moment = windows.T @ windows / 400
    gain = np.array([1.0, 1.3, 0.8])
    fit = fit_masks(weight, 2, scalar_bits=scalar_bits, gain=gain)
    unit = float((fit.alpha * gain).max()) / 255 / gain
    start_mask, start = nearest_masks(weight, fit, unit, 2)
    mask, whole = WindowFit(moment)(weight, fit, unit, 2)
    assert len(np.unique(whole)) <= table_entries(scalar_bits)
    damped = moment + np.eye(27) * 0.1 * np.trace(moment) / 27
    errors = []
    for m, a in ((start_mask, start), (mask, whole)):
        e = (weight - m * (a * unit)[:, :, None, None]).reshape(5, -1)
        errors.append(float(np.einsum("oi,ij,oj->", e, damped, e)))
    assert errors[1] < errors[0]


def test_scalars_that_round_alike_are_one_entry() -> None:
    assert whole_table(np.array([1.0, 1.2, 2.0 - 1e-12, 2.0 + 1e-12, 7.4]), 2).tolist() == [1, 2, 7]
    assert len(whole_table(np.arange(1, 9).astype(float), 2)) <= 4


PICTURES = generated_pictures(40, 36, count=3)


@pytest.mark.parametrize("fit", FIT_RULES)
def test_every_rule_compresses_with_tables(fit: str, tmp_path: Path) -> None:
    """A stack whose layers have all widths; the file has them, and bits are counted with the tables."""
    shape = parse_network("vgg16/16:pool2")
    network = random_network(shape, 3, 1.0)
    integers, report = compress(network, [1, 2, 3, 1], PICTURES, preprocessing="torchvision", fit=fit,
                                scalar_bits=[4, 8, 3, 2])  # fmt: skip
    for layer, bits in zip(integers.layers, (4, 8, 3, 2), strict=True):
        assert layer.scalar_bits == bits
        if bits < 8:
            assert 1 < len(np.unique(layer.alpha)) <= table_entries(bits)
            kernel = bits + 9 * layer.mask_bits
            assert layer.weight_bits == layer.alpha.size * kernel + 8 * 2**bits
    assert report.bits == sum(layer.weight_bits for layer in integers.layers)
    assert [layer.scalar_bits for layer in report.layers] == [4, 8, 3, 2]
    save_network(integers, tmp_path / "n.safetensors")
    assert same(load_network(tmp_path / "n.safetensors"), integers)


@pytest.mark.parametrize("fit", ["least-squares", "output", "sequential"])
def test_shortcuts_and_points_have_tables_of_their_own(fit: str) -> None:
    """A residual network on an image in blocks: projections, identities, and a network with 1x1 kernels."""
    shape = parse_network("resnet18/16:layer2.1")
    network = random_network(shape, 3, 0.01)
    scalar_bits = parse_scalar_plan("3", shape)
    mask_bits = parse_mask_plan("2", shape)
    integers, _ = compress(network, mask_bits, PICTURES, preprocessing="torchvision", fit=fit,
                           scalar_bits=scalar_bits)  # fmt: skip
    several = 0
    for layer in integers.layers:
        assert len(np.unique(layer.alpha)) <= 8
        if layer.shortcut_alpha is not None:
            assert len(np.unique(layer.shortcut_alpha)) <= 8
            several += len(np.unique(layer.shortcut_alpha)) > 1
            kernels, shortcuts = layer.alpha.size, layer.shortcut_alpha.size
            assert layer.weight_bits == kernels * (3 + 18) + shortcuts * (3 + 1) + 2 * 64
    assert several


@pytest.mark.parametrize(("text", "expected"), [
    ("4", (4,) * 7), ("8*3,4*rest", (8, 8, 8, 4, 4, 4, 4)), ("8,4*5,2", (8, 4, 4, 4, 4, 4, 2)),
    ("3*rest", (3,) * 7), (" 2 * 7 ", (2,) * 7), ("8*7,4*rest", (8,) * 7),
])  # fmt: skip
def test_plans_of_scalar_bits(text: str, expected: tuple[int, ...]) -> None:
    assert parse_scalar_plan(text, parse_network("vgg16:pool3")) == expected


@pytest.mark.parametrize(("text", "message"), [
    ("5", "'5' is not understood; allowed: 8, 4, 3, 2 bits, as 8\\*3,4\\*rest"),
    ("4*0,8*7", "'4\\*0' is not understood"), ("4*rest,8", "'4\\*rest' is not understood"),
    ("8*3,4", "describe 4 layers, vgg16:pool3 has 7"), ("8*8", "describe 8 layers"),
    ("x", "'x' is not understood"),
])  # fmt: skip
def test_bad_plans_of_scalar_bits_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_scalar_plan(text, parse_network("vgg16:pool3"))


def test_bad_widths_are_refused() -> None:
    shape = parse_network("vgg16/16:pool1")
    network = random_network(shape, 3, 1.0)
    for bits in ([5, 8], [8], [8, 1]):
        with pytest.raises(InputError, match=r"scalar bits .*; allowed: 8, 4, 3, 2 for each of the 2 layers"):
            compress(network, [1, 1], PICTURES, preprocessing="none", scalar_bits=bits)
    shared = parse_network("shared_resnet/32:layer1.1")
    widths = [8] * len(shared.layers)
    widths[-1] = 4
    network = random_network(shared, 3, 1.0)
    with pytest.raises(InputError, match=r"scalar bits 4 for layer .*; allowed: 8"):
        compress(network, [1] * len(widths), PICTURES, preprocessing="none", scalar_bits=widths)
