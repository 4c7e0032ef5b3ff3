"""Functions of cells, against their truth tables."""

import itertools

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.verif.physical.cell_function import compile_function

PINS = ("A", "B1", "B2")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A", lambda a, b, c: a),
        ("!A", lambda a, b, c: not a),
        ("!(A & (B1 | B2))", lambda a, b, c: not (a and (b or c))),
        ("((A | !B1) ^ B2)", lambda a, b, c: (a or not b) != c),
        ("!!A|B1&B2", lambda a, b, c: a or (b and c)),
        ("A & B1 ^ B2", lambda a, b, c: a and b != c),  # in a liberty file ^ is tighter than &
        ("A | B1 ^ B2", lambda a, b, c: a or b != c),
    ],
)
def test_truth_tables(text, wanted):
    """All eight combinations at once, one in each bit: breaks for a wrong operator or precedence."""
    combinations = list(itertools.product((0, 1), repeat=3))
    values = [sum(row[pin] << n for n, row in enumerate(combinations)) for pin in range(3)]
    found = compile_function(text, PINS)(values)
    assert [found >> n & 1 for n in range(8)] == [int(wanted(*row)) for row in combinations]


@pytest.mark.parametrize(
    "text",
    ["", "A &", "A B1", "(A", "A)", "!", "A & C", "A + B1", "A.real", "A & __import__('os')", "A'", "1"],
)
def test_anything_but_operators_and_pins_is_refused(text):
    with pytest.raises(InputError, match="of pins A, B1, B2; allowed: "):
        compile_function(text, PINS)
