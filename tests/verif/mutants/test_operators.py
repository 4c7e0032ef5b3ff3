"""Which changes a source gives, and that applying one changes that place alone."""

import ast
from pathlib import Path

import pytest

from kestrel.verif.mutants.__main__ import draw, main
from kestrel.verif.mutants.operators import mutants
from kestrel.verif.mutants.outcome import summary
from kestrel.verif.mutants.targets import TARGETS
from kestrel.verif.mutants.trial import ROOT

SOURCE = '''
"""A text with 1 + 2."""
WIDTH = 4

def elaborate(self, platform):
    """Another one: 3 & 4."""
    if self.wrong:
        raise ValueError(f"{1 + 2}")
    with m.If(self.a & ~self.b):
        m.d.sync += x.eq(Mux(c, x + 1, 0))
    m.d.comb += [y.eq(x), z.eq(x == y)]
'''


def changes():
    return {(m.kind, m.old, m.new) for m in mutants(SOURCE)}


def test_the_kinds_of_mutants():
    assert changes() == {
        ("operator", "&", "|"),
        ("inversion", "~self.b", "(self.b)"),
        ("condition", "self.a & ~self.b", "0"),
        ("condition", "self.a & ~self.b", "1"),
        ("dropped statement", "m.d.sync += x.eq(Mux(c, x + 1, 0))", "pass"),
        ("swapped operands", "Mux(c, x + 1, 0)", "Mux(c, 0, x + 1)"),
        ("operator", "+", "-"),
        ("constant", "1", "2"),
        ("constant", "1", "0"),
        ("constant", "0", "1"),
        ("dropped statement", "y.eq(x)", "[z.eq(x == y)]"),
        ("dropped statement", "z.eq(x == y)", "[y.eq(x)]"),
        ("operator", "==", "!="),
    }


def test_a_mutant_changes_its_place_alone():
    for m in mutants(SOURCE):
        changed = m.apply(SOURCE)
        ast.parse(changed)
        assert changed == SOURCE.encode()[: m.start].decode() + m.new + SOURCE.encode()[m.end :].decode()
        assert changed != SOURCE


def test_places_behind_letters_of_several_bytes_are_right():
    source = "def f(m):\n    # \N{MULTIPLICATION SIGN}\n    return (a, '\N{MULTIPLICATION SIGN}', b & c)\n"
    (m,) = mutants(source)
    assert (m.line, m.old, m.new) == (3, "&", "|")
    assert m.apply(source) == source.replace("&", "|")


@pytest.mark.parametrize("file", TARGETS)
def test_every_mutant_of_the_hardware_is_python(file):
    source = (ROOT / "hw" / file).read_text(encoding="utf-8")
    found = mutants(source)
    assert found
    for m in found:
        ast.parse(m.apply(source))


def test_targets_are_there():
    for file, target in TARGETS.items():
        assert (ROOT / target.bench).is_file(), file
        for block in target.blocks:
            assert (ROOT / "verif" / "blocks" / Path(*block.split(".")) / "bench.py").is_file()


def test_a_seed_draws_the_same_mutants():
    files = ["common/isqrt.py", "compute/pool.py"]
    assert draw(files, 3) == draw(files, 3)
    assert draw(files, 3) != draw(files, 4)


def test_a_module_without_a_bench_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "results"), "--files", "core.py"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("module 'core.py'; allowed: ")
    assert " common/isqrt.py, " in error


def test_the_summary_counts_and_lists_survivors():
    outcomes = ("bench", "hang", "survived", "same", "invalid", "bench", "survived")
    results = [{"file": f"{n}.py", "outcome": outcome} for n, outcome in enumerate(outcomes)]
    counts = summary(results, lambda line: "a reason" if line["file"] == "6.py" else None)
    assert (counts["tried"], counts["found"], counts["bench"], counts["hang"]) == (7, 3, 2, 1)
    assert (counts["survived"], counts["argued"]) == (2, 1)
    assert counts["survivors"] == [{"file": "2.py", "outcome": "survived"}]
