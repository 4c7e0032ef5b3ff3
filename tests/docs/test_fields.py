"""The page on configurations explains every field, with the values and ranges that the code has."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "configuration.md"
NAMES = ("nano", "edge", "asic")


def rows():
    """field -> the other cells of its row."""
    text = PAGE.read_text(encoding="utf-8").partition("## Fields")[2]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def shown(value):
    """A value as the page writes it."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if isinstance(value, str) else str(value)


RANGES = [(name, *map(int, found.groups())) for name, row in rows().items()
          if (found := re.search(r"(\d+)\.\.(\d+)", row[0]))]  # fmt: skip


def test_every_field_is_explained_in_the_order_of_the_code():
    assert list(rows()) == [field.name for field in fields(EngineConfig)]
    assert all(len(row) == 2 + len(NAMES) and len(row[-1]) > 10 for row in rows().values())


def test_every_named_configuration_is_shown():
    assert tuple(NAMED) == NAMES


@pytest.mark.parametrize("name", list(rows()))
def test_the_values_are_those_of_the_named_configurations(name):
    assert rows()[name][1:-1] == [shown(getattr(NAMED[config], name)) for config in NAMES]


@pytest.mark.parametrize(("name", "low", "high"), RANGES, ids=[name for name, *_ in RANGES])
def test_the_ranges_are_those_that_are_enforced(name, low, high):
    """One below and one above is refused, and the refusal names what the page says is allowed."""
    for wrong in (low - 1 or -1, high + 1):
        value = (wrong, 100) if name == "feature_words" else wrong
        with pytest.raises(InputError, match=re.escape(f"{low}..{high}")):
            NAMED["edge"].with_options(**{name: value})


@pytest.mark.parametrize("name", [name for name, row in rows().items() if row[0] == "true, false"])
def test_switches_are_switches(name):
    with pytest.raises(InputError, match=f"{name} = 'on'; allowed: true, false"):
        NAMED["edge"].with_options(**{name: "on"})


@pytest.mark.parametrize("name", ["mask_bits_max", "whitening_rows"])
def test_choices_are_those_that_are_enforced(name):
    with pytest.raises(InputError, match=f"allowed: {rows()[name][0]}$"):
        NAMED["edge"].with_options(**{name: 7})
