"""Every proof holds, and does not when the block has the proof's fault."""

from dataclasses import replace
from pathlib import Path

import pytest

from kestrel.verif.proofs.__main__ import main
from kestrel.verif.proofs.catalogue import PROOFS
from kestrel.verif.proofs.proof import with_past
from kestrel.verif.proofs.prove import Contradiction, Refuted, prove
from kestrel.verif.proofs.solve import Undecided, solver_available

pytestmark = pytest.mark.skipif(
    not solver_available(), reason="yosys or Bitwuzla is missing: pip install 'kestrel-engine[proofs]'"
)

NAMES = [
    pytest.param(name, marks=pytest.mark.regress) if proof.slow else name for name, proof in PROOFS.items()
]
PACKER, POOL = PROOFS["byte-packer"], PROOFS["pooling-lane"]


@pytest.mark.parametrize("name", NAMES)
def test_the_property_holds(name):
    assert prove(PROOFS[name]).claims > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_fault_is_seen(name):
    with pytest.raises(Refuted, match=f"^{name}: broken "):
        prove(PROOFS[name], faulty=True)


def test_a_block_that_is_right_after_a_reset_only_is_refuted():
    claims = "always @* assert (o_tvalid == 0);"
    with pytest.raises(Refuted, match=r"broken in the step of the induction: always @\* assert \(o_tvalid"):
        prove(replace(PACKER, claims=claims))


def test_a_claim_that_is_false_after_a_reset_is_refuted():
    with pytest.raises(Refuted, match="broken after a reset"):
        prove(replace(PACKER, claims="always @* assert (o_tvalid == 1);"))


def test_assumptions_that_exclude_everything_prove_nothing():
    with pytest.raises(Contradiction, match="no course of the block satisfies the assumptions"):
        prove(replace(POOL, claims=POOL.claims + "always @* assume (y > 3 && y < 2);"))


def test_a_proof_without_a_claim_is_refused():
    with pytest.raises(Contradiction, match="nothing is claimed"):
        prove(replace(POOL, claims="wire nothing = 1;"))


def test_a_fault_that_fits_nowhere_is_an_error():
    with pytest.raises(ValueError, match=r"pooling-lane: 0 places match 'no such text'; allowed: one"):
        prove(replace(POOL, fault=("no such text", "")), faulty=True)


def test_a_question_that_takes_too_long_is_not_decided():
    with pytest.raises(Undecided, match="no verdict after 0 s"):
        prove(PROOFS["kernel-unit-signed-product"], seconds=0.2)


def test_registers_of_the_past_are_declared_once_and_in_order():
    claims = "assert (past_past_a == past_b && past_a);\n"
    assert with_past(claims).splitlines()[1::2] == [
        "reg [$bits(b)-1:0] past_b;", "reg [$bits(a)-1:0] past_a;", "reg [$bits(past_a)-1:0] past_past_a;",
    ]  # fmt: skip


def test_the_command_writes_what_it_proved(tmp_path, capsys):
    assert main(["pooling-lane", "--json", str(tmp_path / "proofs.json")]) == 0
    assert "pooling-lane" in capsys.readouterr().out
    assert '"name": "pooling-lane"' in (tmp_path / "proofs.json").read_text()


def test_an_unknown_proof_is_refused(capsys):
    assert main(["pool"]) == 2
    assert capsys.readouterr().err.startswith("proof 'pool'; allowed: axi-lite, ")


def test_the_documentation_lists_every_proof():
    page = (Path(__file__).parents[3] / "docs" / "verification.md").read_text(encoding="utf-8")
    for name, proof in PROOFS.items():
        assert f"| `{name}` | {proof.says} | {proof.method} |" in page
