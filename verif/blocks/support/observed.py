"""Functional coverage of a bench: which combinations of states and inputs a block comes into."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from kestrel.verif.blocks.support.lockstep import Model
from kestrel.verif.blocks.support.simulator import fail

FUNCTIONAL_FILE = "functional.json"
"""What a bench leaves in the folder where it runs: by cross the bins, each with its count."""

Bin = tuple[str, ...]
Look = Callable[[Mapping[str, Any], Mapping[str, Any]], Iterable[Bin]]
"""From a cycle's inputs and its outputs to the bins that it is in. It is called before the clock edge."""


class Observed:
    """A model whose cycles are counted by bins. ``possible`` are the bins of the cross called ``name``."""

    def __init__(self, model: Any, name: str, possible: Iterable[Bin], look: Callable[[], Look]) -> None:
        self.model: Model = model
        self.name, self.look = name, look
        self.hits: Counter[Bin] = Counter(dict.fromkeys(possible, 0))

    def step(self, **row: Any) -> Mapping[str, Any]:
        """One cycle of the model."""
        found = self.look()  # remembers the model's state before the edge
        outputs = self.model.step(**row)
        for each in found(row, outputs):
            if each in self.hits:
                self.hits[each] += 1
        return outputs

    def finish(self) -> None:
        """Writes the counts. Raises AssertionError for bins that no cycle was in."""
        file = Path(FUNCTIONAL_FILE)
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        known[self.name] = {" x ".join(found): count for found, count in self.hits.items()}
        file.write_text(json.dumps(known, indent=1), encoding="utf-8")
        never = [found for found, count in self.hits.items() if not count]
        if never or not self.hits:
            raise fail(f"{self.name}: {len(never)} of {len(self.hits)} bins were never reached: {never[:5]}")
