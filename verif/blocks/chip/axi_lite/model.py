"""Model of the AXI4-Lite slave: what it holds of a write and of a read, and the answers that it offers."""

from collections.abc import Mapping
from typing import Any

from kestrel.hw.chip.axi_lite import OKAY, READ_CYCLES, SLVERR


class AxiLite:
    """One write and one read at a time, neither of which looks at the other.

    address, word, target: what has been taken of a write (of its address, its data and strobes) and of a
    read; None if nothing. b, r: the answers on offer.
    """

    def __init__(self) -> None:
        self.known = False  # there has been a reset
        self._forget()

    def _forget(self) -> None:
        self.address: int | None = None
        self.word: tuple[int, int] | None = None
        self.written = False  # in the cycle before this one
        self.b: int | None = None
        self.target: int | None = None
        self.waited = 0  # cycles since ``read``, from 1 on; 0: it is still to come
        self.r: tuple[int, int] | None = None

    def step(self, *, rst: int = 0, **row: int) -> Mapping[str, Any]:
        """One cycle. An output that its VALID or strobe does not cover is not determined."""
        write = self.address is not None and self.word is not None and not self.written and self.b is None
        read = self.target is not None and not self.waited and self.r is None
        outputs: dict[str, Any] = {
            "s_axil_awready": int(self.address is None),
            "s_axil_wready": int(self.word is None),
            "s_axil_bvalid": int(self.b is not None),
            "s_axil_bresp": self.b,
            "s_axil_arready": int(self.target is None),
            "s_axil_rvalid": int(self.r is not None),
            "s_axil_rdata": self.r[0] if self.r else None,
            "s_axil_rresp": self.r[1] if self.r else None,
            "write": int(write),
            "waddr": self.address if write else None,
            "wdata": self.word[0] if write and self.word else None,
            "wstrb": self.word[1] if write and self.word else None,
            "read": int(read),
            "raddr": self.target if read or self.waited else None,
        }
        if not self.known:
            outputs = dict.fromkeys(outputs)
        if rst:
            self._forget()
            self.known = True
        else:
            self._write(write, row)
            self._read(read, row)
        return outputs

    def _write(self, write: bool, row: Mapping[str, int]) -> None:
        if self.b is not None and row["s_axil_bready"]:
            self.b = None
        takes_address, takes_word = self.address is None, self.word is None
        if self.written:
            self.address = self.word = None
            self.b = SLVERR if row["write_fault"] else OKAY
        if takes_address and row["s_axil_awvalid"]:
            self.address = row["s_axil_awaddr"] >> 2
        if takes_word and row["s_axil_wvalid"]:
            self.word = row["s_axil_wdata"], row["s_axil_wstrb"]
        self.written = write

    def _read(self, read: bool, row: Mapping[str, int]) -> None:
        if self.r is not None and row["s_axil_rready"]:
            self.r = None
        takes = self.target is None
        if self.waited == READ_CYCLES:
            self.target, self.waited = None, 0
            self.r = row["rdata"], SLVERR if row["read_fault"] else OKAY
        elif self.waited or read:
            self.waited += 1
        if takes and row["s_axil_arvalid"]:
            self.target = row["s_axil_araddr"] >> 2
