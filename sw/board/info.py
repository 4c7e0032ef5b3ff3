"""What a board says of itself: a text in a ROM of its design."""

import json
from dataclasses import asdict, dataclass, fields

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.link import INFO_BYTES, LINK_VERSION


@dataclass(frozen=True)
class BoardInfo:
    """link: version of the frames' contents; board: its name, or "" for none of BOARDS; network: its name,
    and ``digest`` what it is known by (``network_digest``); network_crc: the CRC-32 of the schedule table;
    height, width: of the pictures that it takes; preprocessing: their channels' order; crops, fit, filter:
    how a picture is cut into them (``kestrel.sw.retrieval.describe.crops``); channels, rows, columns: of the
    feature map; dimensions: of a descriptor; clock: of the design, in hertz."""

    board: str
    network: str
    digest: str
    network_crc: int
    height: int
    width: int
    preprocessing: str
    crops: str
    channels: int
    rows: int
    columns: int
    dimensions: int
    clock: int
    link: int = LINK_VERSION
    fit: str = "stretch"
    filter: str = "bicubic"

    @property
    def rom(self) -> bytes:
        """The ROM's INFO_BYTES bytes. Raises InputError for names so long that it does not hold them."""
        text = json.dumps(asdict(self), separators=(",", ":")).encode()
        if len(text) >= INFO_BYTES:
            raise InputError(f"network {self.network!r}: information of {len(text)} bytes; "
                             f"allowed: fewer than {INFO_BYTES}")
        return text.ljust(INFO_BYTES, b"\0")

    @classmethod
    def of(cls, data: bytes) -> "BoardInfo":
        """From the ROM's bytes, up to the first zero. Raises InputError for a board of another version."""
        try:
            values = json.loads(data.partition(b"\0")[0])
            link = values["link"]
        except (ValueError, TypeError, KeyError):
            raise InputError("the board's information cannot be read; allowed: a board that "
                             "kestrel board build has made") from None
        if link != LINK_VERSION:
            raise InputError(f"the board speaks version {link} of the link; allowed: {LINK_VERSION}")
        return cls(**{field.name: values[field.name] for field in fields(cls)})
