"""Every proof, by its name."""

from kestrel.verif.proofs import arithmetic, ends, numbers, ports
from kestrel.verif.proofs.proof import Proof

PROOFS: dict[str, Proof] = {
    proof.name: proof for proof in (*ports.PROOFS, *ends.PROOFS, *arithmetic.PROOFS, *numbers.PROOFS)
}
