"""Fixtures for all tests: the run's seed, and the oracle that the reference is held to."""

import os
import secrets
from collections.abc import Callable, Generator

import numpy as np
import pytest
import torch

from kestrel.hw.spec.widths import BIAS_FRACTION
from kestrel.sw.model.compressed import CompressedNetwork

SEED_VARIABLE = "KESTREL_SEED"
NO_SKIPS_VARIABLE = "KESTREL_NO_SKIPS"
"""Set to 1, a skipped test fails unless it is marked ``needs_data``: a missing tool hides what is broken."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis draws from the run's seed too, if one is given and --hypothesis-seed is not."""
    text = os.environ.get(SEED_VARIABLE)
    if text is not None and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = text


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of a random test: drawn anew each time, or given by KESTREL_SEED. A failure reports it."""
    text = os.environ.get(SEED_VARIABLE)
    value = secrets.randbits(32) if text is None else int(text)
    request.node.user_properties.append(("seed", value))
    return value


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A random generator of the test's own, from ``seed``."""
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def one_thread() -> Generator[None, None, None]:
    """torch computes in one thread in this module's tests: their maps are too small to be shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in a failure's report which seed repeats it; fail a skipped test where none may be skipped."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("needs_data"):
        _refuse_skip(report)
    seeds = [value for name, value in item.user_properties if name == "seed"]
    if report.failed and seeds:
        report.sections.append(("seed", f"{SEED_VARIABLE}={seeds[0]} repeats this test"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that is skipped as a whole (``importorskip``) where none may be skipped."""
    report = yield
    if report.skipped:
        _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure if KESTREL_NO_SKIPS is 1."""
    if os.environ.get(NO_SKIPS_VARIABLE) == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\n{NO_SKIPS_VARIABLE}=1: only a test marked needs_data may be skipped"


@pytest.fixture
def oracle() -> Callable[[CompressedNetwork, np.ndarray], list[np.ndarray]]:
    """``integer_network``: an independent model of the arithmetic (here, as tests are no package)."""
    return integer_network


def integer_network(network: CompressedNetwork, x: np.ndarray) -> list[np.ndarray]:
    """Outputs of all layers, int64 [N, C_l, H_l, W_l], for x [N, C, H, W].

    A second implementation of the integer network, as plain as possible: a loop over the nine taps.
    Independent of ``kestrel.sw.model.reference`` and slow; only for holding the reference to it.
    """
    maps: list[np.ndarray] = []
    image = x.astype(np.int64)
    for number, layer in enumerate(network.layers):
        shape = layer.shape
        x = image if number == 0 else maps[number - 1 if shape.source is None else shape.source]
        n, c, h, w = x.shape
        pad = network.pad.astype(np.int64) if number == 0 else np.zeros(c, dtype=np.int64)
        framed = np.broadcast_to(pad[None, :, None, None], (n, c, h + 2, w + 2)).copy()
        framed[:, :, 1 : h + 1, 1 : w + 1] = x
        rows, columns = np.arange(0, h, shape.stride), np.arange(0, w, shape.stride)
        acc = np.zeros((n, shape.out_channels, len(rows), len(columns)), dtype=np.int64)
        for row, column in ((1, 1),) if shape.kernel == 1 else np.ndindex(3, 3):
            tap = layer.mask[:, :, 0, 0] if shape.kernel == 1 else layer.mask[:, :, row, column]
            seen = framed[:, :, rows + row][:, :, :, columns + column]
            acc += np.einsum("oi,nihw->nohw", layer.alpha.astype(np.int64) * tap, seen)
        if shape.shortcut is not None:
            assert layer.shortcut_alpha is not None
            other, beta = maps[shape.shortcut.source], layer.shortcut_alpha.astype(np.int64)
            if layer.shortcut_sign is None:
                added = beta[None, :, None, None] * other
            else:
                step = shape.shortcut.stride
                added = np.einsum("oi,nihw->nohw", beta * layer.shortcut_sign, other[:, :, ::step, ::step])
            acc += 2**layer.shortcut_shift * added
        s = layer.shift
        bias = layer.bias.astype(np.int64)[None, :, None, None]
        y = (acc + (bias << (s - BIAS_FRACTION)) + (1 << (s - 1))) >> s
        y = np.clip(y, 0, 2**network.activation_bits - 1)
        if shape.pool:
            y = pooled(y, shape.pool_size)
        maps.append(y)
    return maps


def pooled(y: np.ndarray, size: int) -> np.ndarray:
    """Maxima of y [N, C, H, W] over windows of ``size``, 2 or 3, in steps of 2."""
    if size == 2:
        h, w = y.shape[2] // 2, y.shape[3] // 2
        return np.stack([y[:, :, r : 2 * h : 2, c : 2 * w : 2] for r, c in np.ndindex(2, 2)]).max(axis=0)
    h, w = (y.shape[2] + 1) // 2, (y.shape[3] + 1) // 2
    out = np.empty((*y.shape[:2], h, w), dtype=y.dtype)
    for row, column in np.ndindex(h, w):
        window = y[:, :, max(2 * row - 1, 0) : 2 * row + 2, max(2 * column - 1, 0) : 2 * column + 2]
        out[:, :, row, column] = window.max(axis=(2, 3))
    return out
