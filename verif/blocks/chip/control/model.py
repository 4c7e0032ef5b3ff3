"""Model of the chip's control: what runs, what is to be told of it."""

from collections.abc import Mapping
from typing import Any

from kestrel.hw.spec.registers import BY_NAME, CORE_CAUSES

GOOD = ("good_table", "good_weights", "good_descriptor")
_CRC_CAUSES = ("table_crc", "weights_crc", "descriptor_crc")


class Control:
    """``startup_check``: as in the chip's configuration.

    starting: the core is told to start in this cycle. checking: a self-check has been asked for and has not
    ended; owed: the one after a reset has not begun. verdict: of the last self-check, None if there was none.
    """

    def __init__(self, startup_check: bool) -> None:
        self._startup_check = startup_check
        self.known = False  # there has been a reset
        self._forget()

    def _forget(self) -> None:
        self.starting = False
        self.checking = False
        self.owed = self._startup_check
        self.verdict: bool | None = None
        self._core_ran = False
        self._frames = 0

    def busy(self, row: Mapping[str, Any]) -> bool:
        """Whether anything keeps the chip from a new frame."""
        here = self.starting or self.checking or self.owed
        return bool(here or row["core_busy"] or row["closing"] or row["check_busy"])

    def step(self, *, rst: int = 0, **row: Any) -> Mapping[str, Any]:
        """One cycle."""
        request, idle = row["request"], not self.busy(row)
        running = bool(row["core_busy"] or self.starting)
        causes = set[str]()

        # A frame is asked for, and begins in the next cycle unless something speaks against it.
        by_itself = row["continuous"] and row["waiting"] and not any(row["errors"].values())
        ends = bool(request["abort"] or request["soft_reset"])
        begins = idle and not ends and bool(request["start"] or by_itself)
        if begins:
            wanted = row["image"]["height"], row["image"]["width"]
            if wanted not in ((0, 0), (row["image_height"], row["image_width"])):
                causes.add("image_size")
            if self.verdict is False or (self._startup_check and not self.verdict):
                causes.add("not_checked")
            begins = not causes

        # What ends a frame.
        failed = self._core_ran and not row["core_busy"] and not row["core_done"]
        if failed:
            causes |= {cause.name for cause in CORE_CAUSES if cause.bit == row["core_error"]}
        if running:
            causes |= {"table_inconsistent"} if row["inconsistent"] else set()
            causes |= {"memory_exceeded"} if row["exceeded"] else set()
        if request["abort"] and (running or self.checking):
            causes.add("aborted")
        abort = bool(ends or failed or causes & {"table_inconsistent", "memory_exceeded"})

        # Self-checks.
        wants_check = (request["check"] and idle) or self.owed
        check_start = bool(wants_check and row["identified"] and not request["abort"])
        good = [bool(row[name]) for name in GOOD]
        if row["check_done"]:
            causes |= {name for name, right in zip(_CRC_CAUSES, good, strict=True) if not right}

        outputs = {
            "core_start": int(self.starting and not abort), "core_abort": int(abort),
            "check_start": int(check_start), "check_abort": int(bool(request["abort"] and self.checking)),
            "busy": int(not idle), "checking": int(self.checking),
            "check_good": int(self.verdict is True), "check_bad": int(self.verdict is False),
            "frames": self._frames,
            "interrupts": {
                "done": row["core_done"], "error": int(bool(causes)), "checked": row["check_done"],
            },
            "causes": {
                field.name: int(field.name in causes or (field.name == "write_busy" and row["write_refused"]))
                for field in BY_NAME["error"].fields
            },
        }  # fmt: skip
        if rst:
            self._forget()
        else:
            self._edge(row, begins, abort, check_start, all(good))
        if not self.known:
            outputs = dict.fromkeys(outputs)
            self.known = bool(rst)
        return outputs

    def _edge(self, row: Mapping[str, Any], begins: bool, abort: bool, check_start: bool, good: bool) -> None:
        self.starting = begins
        self._core_ran = bool(row["core_busy"]) and not abort
        self._frames = (self._frames + row["core_done"]) % (1 << 32)
        if check_start:
            self.checking, self.owed, self.verdict = True, False, None
        if row["check_done"]:
            self.checking, self.verdict = False, good
        if row["request"]["abort"]:
            self.checking = self.owed = False
