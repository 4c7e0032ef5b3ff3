"""The chip's registers, described once.

The register file (``hw.chip.register_file``), the C header and the Markdown map
(``kestrel.export.registers``) and the drivers' accessors (``kestrel.sw.driver``) are all made from
``REGISTERS``. Plain Python.

Access
------
ro    read only
rw    read and written; a ``locked`` one only while the chip is not busy
w1c   read; a one written clears the bit
wo    a one written acts once; reads 0
Bits without a field read 0 and are ignored when written. Byte strobes hold for every write.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from kestrel.hw.spec.descriptor import DESCRIPTOR_ERROR_BASE, DESCRIPTOR_ERRORS
from kestrel.hw.spec.status import COUNTER_BASE, COUNTERS, ERRORS

REGISTER_BITS = 32
ADDRESS_BITS = 12
IDENTIFICATION = 0x4B535431
"""``KST1``."""

VERSION = (1, 0, 0)
"""Of this register map: major (incompatible), minor (more registers), patch."""

FEATURES, DESCRIPTOR_BYTES, DESCRIPTOR_BITS, RAW_SUMS = range(4)
"""What OUTPUT.select may be."""


@dataclass(frozen=True)
class BitField:
    """``width`` bits from bit ``lsb`` on."""

    name: str
    lsb: int
    width: int
    text: str
    reset: int = 0

    @property
    def mask(self) -> int:
        return ((1 << self.width) - 1) << self.lsb

    @property
    def bits(self) -> str:
        """``7`` or ``15:8``."""
        return f"{self.lsb + self.width - 1}:{self.lsb}" if self.width > 1 else f"{self.lsb}"


@dataclass(frozen=True)
class Register:
    """``count`` words from ``address`` on, each with these fields."""

    name: str
    address: int
    access: str
    text: str
    fields: tuple[BitField, ...] = field(default_factory=lambda: (BitField("value", 0, REGISTER_BITS, ""),))
    locked: bool = False
    count: int = 1

    @property
    def mask(self) -> int:
        """All bits that exist."""
        return sum(f.mask for f in self.fields)

    @property
    def reset(self) -> int:
        return sum(f.reset << f.lsb for f in self.fields)

    def field(self, name: str) -> BitField:
        return next(f for f in self.fields if f.name == name)

    def pack(self, **values: int) -> int:
        """The register's word; fields not named are 0. Raises ValueError for what does not fit."""
        word = 0
        for name, value in values.items():
            place = self.field(name)
            if not 0 <= value < 1 << place.width:
                raise ValueError(f"{self.name}.{name} = {value}; allowed: 0..{(1 << place.width) - 1}")
            word |= value << place.lsb
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """The fields of a word."""
        return {f.name: (word & f.mask) >> f.lsb for f in self.fields}


@dataclass(frozen=True)
class Cause:
    """Why a frame failed or a request was refused: bit ``bit`` of ERROR."""

    name: str
    bit: int
    text: str


CAUSES = (
    Cause("frame_short", 1, ERRORS[1]),
    Cause("frame_long", 2, ERRORS[2]),
    Cause("table_version", 3, ERRORS[3]),
    Cause("table_config", 4, ERRORS[4]),
    *(
        Cause(name, DESCRIPTOR_ERROR_BASE + number, DESCRIPTOR_ERRORS[number])
        for number, name in enumerate(
            ("descriptor_rom", "descriptor_map", "map_not_whole", "part_sequence", "too_many_regions"), 1
        )
    ),
    Cause("image_size", 16, "IMAGE asks for a size that the table was not made for; no frame was started"),
    Cause("table_inconsistent", 17, "schedule table: an impossible record or visit; the frame was ended"),
    Cause("memory_exceeded", 18, "schedule table: a region beyond the feature memory; the frame was ended"),
    Cause("weights_crc", 19, "the weight ROM's CRC-32 is not that of the table's header"),
    Cause("table_crc", 20, "the schedule table's CRC-32 is not that of its header, or it has none"),
    Cause("descriptor_crc", 21, "the descriptor ROM's CRC-32 is not that of the table's header"),
    Cause("not_checked", 22, "a start was refused: the last self-check failed, or one is required first"),
    Cause("write_busy", 23, "a write that is refused while the chip is busy (the answer was SLVERR)"),
    Cause("aborted", 24, "the frame or self-check was ended by CONTROL.abort"),
)
CORE_CAUSES = tuple(cause for cause in CAUSES if cause.bit < 16)
"""Those that the core gives: bit n for its cause n."""

INTERRUPTS = (
    BitField("done", 0, 1, "a frame has ended well"),
    BitField("error", 1, 1, "a cause was set in ERROR, other than write_busy"),
    BitField("checked", 2, 1, "a self-check has ended"),
)

_SIZE = (BitField("height", 0, 16, "rows"), BitField("width", 16, 16, "columns"))


def _number(text: str = "") -> tuple[BitField, ...]:
    return (BitField("value", 0, REGISTER_BITS, text),)


REGISTERS = (
    Register("id", 0x000, "ro", f"0x{IDENTIFICATION:08X}, \"KST1\""),
    Register("version", 0x004, "ro", "of the register map", (
        BitField("patch", 0, 8, ""), BitField("minor", 8, 8, "more registers"),
        BitField("major", 16, 8, "incompatible"),
    )),
    Register("config0", 0x008, "ro", "what the chip was generated with", (
        BitField("input_lanes", 0, 8, ""), BitField("output_lanes", 8, 8, ""),
        BitField("load_kernels", 16, 8, "kernels decoded a cycle"),
        BitField("stream_bytes", 24, 8, "bytes of TDATA of the image stream"),
    )),
    Register("config1", 0x00C, "ro", "the same", (
        BitField("activation_bits", 0, 4, ""), BitField("mask_bits_max", 4, 3, ""),
        BitField("row_groups", 8, 1, ""), BitField("descriptor", 9, 1, "the chip has a descriptor unit"),
        BitField("startup_check", 10, 1, "a self-check follows every reset, and frames wait for it"),
        BitField("word_lanes", 16, 8, "bytes of TDATA of the output stream"),
    )),
    Register("network_crc", 0x010, "ro", "CRC-32 of the schedule table, which holds that of the other ROMs: "
             "tells networks apart. From the table's header; 0 before it is read"),
    Register("table_size", 0x014, "ro", "image size that the schedule table was made for", _SIZE),
    Register("image", 0x018, "rw", "image size that the host is about to send; 0 x 0: that of the table. A "
             "start with another size is refused", _SIZE, locked=True),
    Register("mode", 0x01C, "rw", "", (
        BitField("continuous", 0, 1, "a frame starts by itself when a beat waits, the chip is not busy and "
                 "ERROR is 0"),
    ), locked=True),
    Register("control", 0x020, "wo", "start, check and stream_reset are refused while the chip is busy", (
        BitField("start", 0, 1, "begin a frame"),
        BitField("abort", 1, 1, "end the frame or self-check now; its image, if a beat of it has been "
                 "offered, is thrown away up to its TLAST; an output packet under way is closed by a beat of "
                 "TKEEP 0 with TLAST"),
        BitField("soft_reset", 2, 1, "everything as after rst, but for the streams, which are treated as by "
                 "abort"),
        BitField("check", 3, 1, "self-check: compute the CRC-32 of every ROM"),
        BitField("stream_reset", 4, 1, "forget what was taken of an image: the next beat is a first one. For "
                 "a source that is reset in the middle of one"),
    )),
    Register("status", 0x024, "ro", "", (
        BitField("busy", 0, 1, "a frame or a self-check is under way, or closing"),
        BitField("checking", 1, 1, "a self-check is"),
        BitField("draining", 2, 1, "the rest of an image is being thrown away"),
        BitField("closing", 3, 1, "after an abort or an error: the sink has not yet taken all that was "
                 "offered, the beat that closes the packet included"),
        BitField("check_good", 4, 1, "the last self-check found all ROMs good"),
        BitField("check_bad", 5, 1, "the last self-check failed: no frame starts"),
        BitField("identified", 6, 1, "the table's header has been read"),
    )),
    Register("error", 0x028, "w1c", "causes, each until cleared",
             tuple(BitField(c.name, c.bit, 1, c.text) for c in CAUSES)),
    Register("irq_enable", 0x02C, "rw", "interrupts that reach irq", INTERRUPTS),
    Register("irq_status", 0x030, "w1c", "interrupts, enabled or not", INTERRUPTS),
    Register("frames", 0x034, "ro", "frames that ended well since reset"),
    Register("output", 0x038, "rw", "", (
        BitField("select", 0, 2, "0: features of the last layer, 1: descriptor bytes, 2: descriptor bits, "
                 "3: raw sums; without a descriptor unit always 0"),
    ), locked=True),
    Register("part", 0x03C, "rw", "which part of a descriptor's crops and rotations the next frame is; "
             "without a descriptor unit of no effect", (
        BitField("first_crop", 0, 1, "", 1), BitField("last_crop", 1, 1, "", 1),
        BitField("first_rotation", 2, 1, "", 1), BitField("last_rotation", 3, 1, "", 1),
    ), locked=True),
    Register("cycles", 0x040, "ro", "clock cycles of the current or last frame"),
    Register("crc_weights", 0x044, "ro", "CRC-32 of the weight ROM, from the last self-check"),
    Register("crc_table", 0x048, "ro", "the same of the schedule table (its own CRC word taken as 0)"),
    Register("crc_descriptor", 0x04C, "ro", "the same of the descriptor ROM"),
    Register("scratch", 0x050, "rw", "of no effect: for a test of the bus"),
    Register("record_cycles", 0x800, "ro", "cycles of the last frame's records of the schedule table; 0 "
             "while the chip is busy", count=COUNTER_BASE),
    Register("counters", 0xC00, "ro", f"what the frame's cycles went into: {', '.join(COUNTERS)}",
             count=len(COUNTERS)),
)  # fmt: skip

BY_NAME = {register.name: register for register in REGISTERS}
COUNTER_REGISTERS = ("record_cycles", "counters")
"""Those read from the engine's counters: (address - 0x800) / 4 is the counter's address."""


def error_names(word: int) -> Iterator[str]:
    """Names of the causes in a word of ERROR."""
    return (cause.name for cause in CAUSES if word >> cause.bit & 1)
