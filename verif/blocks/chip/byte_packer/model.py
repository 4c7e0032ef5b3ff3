"""Model of the byte packer: the bytes of a word that is being filled, and the word on offer."""

from collections.abc import Mapping
from typing import Any


class BytePacker:
    """Words of ``lanes`` bytes, the first byte lowest."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.known = False  # there has been a reset
        self._word: list[int] = []
        self._offered: tuple[list[int], int] | None = None

    @property
    def takes(self) -> bool:
        """Whether a byte is taken in this cycle if one is offered."""
        return self._offered is None

    def step(
        self, *, i_tdata: int, i_tlast: int, i_tvalid: int, o_tready: int, rst: int = 0
    ) -> Mapping[str, Any]:
        """One cycle."""
        outputs: dict[str, Any] = {
            "i_tready": int(self.takes), "o_tvalid": int(not self.takes), "o_tdata": None, "o_tkeep": None,
            "o_tlast": None,
        }  # fmt: skip
        if self._offered is not None:
            values, last = self._offered
            outputs["o_tdata"] = int.from_bytes(bytes(values), "little")
            outputs["o_tkeep"] = (1 << len(values)) - 1
            outputs["o_tlast"] = last
        if not self.known:
            outputs = dict.fromkeys(outputs)
        if rst:
            self.known = True
            self._word, self._offered = [], None
        elif self._offered is not None:
            if o_tready:
                self._offered = None
        elif i_tvalid:
            self._word.append(i_tdata)
            if i_tlast or len(self._word) == self.lanes:
                self._offered, self._word = (self._word, i_tlast), []
        return outputs
