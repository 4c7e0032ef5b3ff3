"""What the chip's control may be asked in which state, and what may go wrong at which moment; the courses
that lead there.

A command is crossed with what the chip is doing in that cycle; a cause of ERROR with what else comes in the
cycle in which it is set.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kestrel.hw.spec.registers import BY_NAME, CORE_CAUSES
from kestrel.verif.blocks.chip.control.model import GOOD, Control
from kestrel.verif.blocks.support.observed import Bin, Look

COMMANDS = tuple(f.name for f in BY_NAME["control"].fields)
CAUSES = tuple(f.name for f in BY_NAME["error"].fields)
STATES = ("idle", "starting", "running", "closing", "checking", "reading", "failed check", "error set")
"""reading: the self-check reads the table's header. failed check: idle after one that found a fault. error
set: idle, with a cause that has not been cleared."""

OWED = "check owed"
"""After a reset of a chip that checks its ROMs then, before the header has been read."""

MOMENTS = ("alone", "abort", "soft_reset", "another cause")
_STARTS = ("image_size", "not_checked")
"""Causes of a start that is refused; with an abort or a reset in the same cycle there is no start."""
_STATE_OF = {
    "not_checked": "failed check", "table_inconsistent": "running", "memory_exceeded": "running",
    "aborted": "running",
}  # fmt: skip
"""What the chip is doing when a cause is set."""

Row = dict[str, Any]


def command_states(*, startup: bool) -> list[Bin]:
    """Commands by states. A chip that checks after a reset has one more state."""
    return [(command, state) for command in COMMANDS for state in (*STATES, *((OWED,) if startup else ()))]


def cause_moments() -> list[Bin]:
    """Causes by moments, but for those that exclude each other."""
    return [
        (cause, moment)
        for cause in CAUSES
        for moment in MOMENTS
        if not (cause in _STARTS and moment in COMMANDS) and (cause, moment) != ("aborted", "alone")
    ]


def state_of(model: Control, row: Mapping[str, Any]) -> str:
    """What the chip is doing in a cycle."""
    busy = (
        ("starting", model.starting), ("running", row["core_busy"]), ("checking", model.checking),
        ("reading", row["check_busy"]), ("closing", row["closing"]), (OWED, model.owed),
        ("failed check", model.verdict is False), ("error set", any(row["errors"].values())),
    )  # fmt: skip
    return next((name for name, holds in busy if holds), "idle")


def look_at_commands(model: Control) -> Look:
    """Bins of a cycle, of its commands."""
    before = {"starting": model.starting, "checking": model.checking, "owed": model.owed,
              "verdict": model.verdict}  # fmt: skip

    def found(row: Mapping[str, Any], outputs: Mapping[str, Any]) -> Iterable[Bin]:
        del outputs
        earlier = Control(startup_check=False)
        vars(earlier).update(before)
        return [
            (name, state_of(earlier, row)) for name in COMMANDS if row["request"][name] and not row["rst"]
        ]

    return found


def look_at_causes(row: Mapping[str, Any], outputs: Mapping[str, Any]) -> Iterable[Bin]:
    """Bins of a cycle, of the causes that are set in it."""
    causes = outputs["causes"]
    set_now = [name for name in CAUSES if causes and causes[name] and not row["rst"]]
    for name in set_now:
        commands = [moment for moment in ("abort", "soft_reset") if row["request"][moment]]
        others = ["another cause"] if len(set_now) > 1 else []
        yield from ((name, moment) for moment in commands + others or ["alone"])


def asked(*names: str) -> dict[str, int]:
    return {name: int(name in names) for name in COMMANDS}


def into(state: str, idle: Row, *, startup: bool) -> Iterator[Row]:
    """From a reset on the cycles that lead to a state, without the cycle that is in it."""
    yield idle | {"rst": 1}
    if state == OWED:
        return
    if startup:
        yield idle  # the check begins
        yield idle | {"check_done": 1, **dict.fromkeys(GOOD, 1)}
    if state == "failed check":
        yield idle | {"request": asked("check")}
        yield idle | {"check_done": 1, **dict.fromkeys(GOOD, 0)}
    if state in ("starting", "checking"):
        yield idle | {"request": asked("start" if state == "starting" else "check")}


def within(state: str, idle: Row) -> Row:
    """A cycle in a state."""
    errors = dict.fromkeys(CAUSES, 0)
    return idle | {
        "running": {"core_busy": 1}, "closing": {"closing": 1}, "reading": {"check_busy": 1},
        "error set": {"errors": errors | {CAUSES[0]: 1}}, OWED: {"identified": 0},
    }.get(state, {})  # fmt: skip


def every_command(idle: Row, *, startup: bool) -> Iterator[Row]:
    """Each command in each state."""
    for command, state in command_states(startup=startup):
        yield from into(state, idle, startup=startup)
        yield within(state, idle) | {"request": asked(command)}
        yield from (idle, idle)


def every_cause(idle: Row, *, startup: bool) -> Iterator[Row]:
    """Each cause at each moment."""
    for cause, moment in cause_moments():
        state = _STATE_OF.get(cause, "checking" if cause.endswith("_crc") else "idle")
        yield from into(state, idle, startup=startup)
        row = within(state, idle)
        commands = [moment] if moment in COMMANDS else []
        if cause in {c.name for c in CORE_CAUSES}:
            yield idle | {"core_busy": 1}
            row |= {"core_error": next(c.bit for c in CORE_CAUSES if c.name == cause)}
        elif cause.endswith("_crc"):
            row |= {"check_done": 1, **dict.fromkeys(GOOD, 1), f"good_{cause.removesuffix('_crc')}": 0}
        elif cause == "image_size":
            commands.append("start")
            row |= {"image": {"height": 1, "width": 1}}
        elif cause == "not_checked":
            commands.append("start")
        elif cause == "table_inconsistent":
            row |= {"inconsistent": 1}
        elif cause == "memory_exceeded":
            row |= {"exceeded": 1}
        elif cause == "aborted":
            commands.append("abort")
        row |= {"request": asked(*commands)}
        if cause == "write_busy":
            row |= {"write_refused": 1}
            if moment == "another cause":
                row |= {"request": asked("start"), "image": {"height": 1, "width": 1}}
        elif moment == "another cause":
            row |= {"write_refused": 1}
        yield row
        yield from (idle, idle)
