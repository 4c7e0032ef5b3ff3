"""Model of the register file: whole words, by the map of ``kestrel.hw.spec.registers``."""

from collections.abc import Mapping
from typing import Any

from kestrel.hw.spec.registers import BY_NAME, COUNTER_REGISTERS, REGISTERS, Register
from kestrel.hw.spec.status import COUNTER_ADDRESS_BITS

BY_WORD = {(r.address >> 2) + n: r for r in REGISTERS for n in range(r.count)}
"""Registers by the number of their word."""

_REFUSED = BY_NAME["control"].pack(start=1, check=1, stream_reset=1)
_LOCKED = {"image", "mode", "output", "part"}


class RegisterFile:
    """Writes act at the next edge; what was read comes two cycles after its address."""

    def __init__(self) -> None:
        self.words: dict[str, int] | None = None  # None before the first reset
        self._fault: int | None = None
        self._read: list[tuple[Any, int | None]] = [(None, None), (None, None)]

    def step(self, *, rst: int = 0, **row: Any) -> Mapping[str, Any]:
        """One cycle."""
        written = BY_WORD.get(row["waddr"]) if row["write"] else None
        strobes = sum(0xFF << 8 * n for n in range(4) if row["wstrb"] >> n & 1)
        refused = bool(
            written
            and row["busy"]
            and (
                written.name in _LOCKED
                or (written.name == "control" and row["wdata"] & strobes & _REFUSED)
            )
        )  # fmt: skip
        data, fault = self._read.pop()
        words = self.words
        outputs: dict[str, Any] = {
            "write_refused": int(refused),
            "write_fault": self._fault,
            "counter_addr": row["raddr"] & ((1 << COUNTER_ADDRESS_BITS) - 1),
            "rdata": data,
            "read_fault": fault,
        }
        for register in REGISTERS:
            if register.access != "ro":
                outputs[register.name] = register.unpack(words[register.name]) if words else None
        # What was addressed in the last cycle: now its counter is there.
        self._read[0] = self._with_counter(*self._read[0], row["counter_value"])
        self._read.insert(0, self._addressed(row))
        if rst:
            self.words = {r.name: r.reset for r in REGISTERS if r.access != "ro"}
            self._fault, self._read = 0, [(None, None), (None, None)]
        elif words:
            writable = written is not None and written.access != "ro"
            self._fault = int(bool(row["write"]) and (refused or not writable))
            self._write(words, written, row["wdata"], strobes, bool(row["busy"]), row)
        return outputs

    def _addressed(self, row: Mapping[str, Any]) -> tuple[Any, int]:
        """Data and fault of the address; in place of a counter its register, None for one that is hidden."""
        register = BY_WORD.get(row["raddr"])
        if register is None:
            return None, 1
        if register.name in COUNTER_REGISTERS:
            return (0 if register.name == "record_cycles" and row["busy"] else register), 0
        if register.access == "wo":
            return 0, 0
        if register.access == "ro":
            return register.pack(**row[register.name]), 0
        return (self.words[register.name] if self.words else None), 0

    @staticmethod
    def _with_counter(data: Any, fault: int | None, counter: int) -> tuple[Any, int | None]:
        return (counter if isinstance(data, Register) else data), fault

    def _write(
        self, words: dict[str, int], written: Register | None, data: int, strobes: int, busy: bool,
        row: Mapping[str, Any],
    ) -> None:  # fmt: skip
        for name, old in words.items():
            register = BY_NAME[name]
            mask = strobes & register.mask if register is written else 0
            if busy and name in _LOCKED:
                mask = 0
            if register.access == "rw":
                words[name] = data & mask | old & ~mask
            elif register.access == "w1c":
                words[name] = old & ~(data & mask) | register.pack(**row[f"{name}_set"])
            else:
                words[name] = data & mask & ~(_REFUSED if busy else 0)
