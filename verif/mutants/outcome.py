"""How the trial of a mutant ended, and what a file of results adds up to."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    INVALID = "invalid"
    """The block cannot be made: whoever made the change would see it at once."""
    SAME = "same"
    """The Verilog is the same in all configurations that are tried."""
    BENCH = "bench"
    """The bench of the block failed."""
    HANG = "hang"
    """It did not end in the time that it was given."""
    FRAMES = "frames"
    """Only frames failed."""
    PROOF = "proof"
    """Only a proof of what the block does failed."""
    EQUIVALENT = "equivalent"
    """Nothing found it, and a proof shows that nothing can."""
    SURVIVED = "survived"


FOUND = (Outcome.BENCH, Outcome.HANG, Outcome.FRAMES, Outcome.PROOF)


def summary(
    lines: Sequence[Mapping[str, Any]], argue: Callable[[Mapping[str, Any]], str | None]
) -> dict[str, object]:
    """Numbers by outcome and the survivors, from results. ``argue`` says why a survivor is equivalent, if
    somebody has argued: it counts as ``argued`` and is not listed."""
    outcomes = Counter(line["outcome"] for line in lines)
    survived = [line for line in lines if line["outcome"] == Outcome.SURVIVED]
    survivors = [line for line in survived if argue(line) is None]
    return {
        "tried": len(lines),
        "found": sum(outcomes[outcome] for outcome in FOUND),
        **{str(outcome): outcomes[outcome] for outcome in Outcome if outcomes[outcome]},
        "argued": len(survived) - len(survivors),
        "survivors": survivors,
    }
