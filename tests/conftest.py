"""Fixtures for all tests."""

import os
import secrets

import numpy as np
import pytest

SEED_VARIABLE = "KESTREL_SEED"


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # noqa: ANN201 (a generator)
    """Say in a failure's report which seed repeats it."""
    report = yield
    seeds = [value for name, value in item.user_properties if name == "seed"]
    if report.failed and seeds:
        report.sections.append(("seed", f"{SEED_VARIABLE}={seeds[0]} repeats this test"))
    return report
