"""Benches of blocks whose whole course is known beforehand: inputs and expected outputs cycle by cycle."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from kestrel.verif.blocks.support.lockstep import Block, lockstep

Step = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A cycle's inputs and the outputs that go with them, as ``lockstep`` takes them."""


async def script(block: Block, steps: Iterable[Step]) -> None:
    """Runs the block through ``steps``; see ``lockstep``."""
    coming: deque[Mapping[str, Any]] = deque()

    def inputs() -> Iterator[Mapping[str, Any]]:
        for row, expected in steps:
            coming.append(expected)
            yield row

    await lockstep(block, _Expected(coming), inputs())


class _Expected:
    def __init__(self, coming: deque[Mapping[str, Any]]) -> None:
        self.coming = coming

    def step(self, **inputs: Any) -> Mapping[str, Any]:
        del inputs
        return self.coming.popleft()


def record(source: Random, layout: data.StructLayout, **known: int) -> dict[str, int]:
    """A structure of plain fields: the known ones, and anything in the others."""
    fields = {name: source.getrandbits(Shape.cast(field.shape).width) for name, field in layout}
    if unknown := known.keys() - fields.keys():
        raise ValueError(f"fields {sorted(unknown)} are not in the structure")
    return fields | known
