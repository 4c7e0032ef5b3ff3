"""Descriptor unit (NIP): the last feature map, region by region, becomes a descriptor."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.feature_memory import BANKS
from hw.schedule import feature_address_bits, layer_layout, visit_layout
from hw.spec import DESCRIPTOR_WORD_BITS, NIP, NIP_ERROR_BITS, EngineConfig, NipConfig, bits_for

NIP_COMMAND = data.StructLayout(
    {"first_crop": 1, "last_crop": 1, "first_rotation": 1, "last_rotation": 1, "output": 2}
)
"""What a frame is: first and last crop of its rotation, a frame of the first and of the last rotation;
output: NIP_OUTPUT_BYTES, _BITS or _SUMS, the same in all frames of a descriptor."""


class Nip(wiring.Component):
    """See the module's docstring.

    Takes the place of the feature output in a frame that ends in a descriptor: the map must lie whole in the
    memory, so the frame has a single output visit of all rows. Only the frame with ``last_crop`` and
    ``last_rotation`` sends anything.

    Members
    -------
    go : In(1)               begin; ``visit``, ``command`` are taken with it
    visit, layer : In        as in the feature output; ``layer`` must stay until ``ending``
    command : In(NIP_COMMAND)
    abort : In(1)            back to rest in the next cycle, whatever was summed is forgotten; an unfinished
                             stream stops (the reader of the stream must be told)
    active : Out(1)          from the cycle after ``go``
    ending : Out(1)          one cycle at a good end, after the last beat was taken; ``active`` falls with it
    error : Out(3)           instead of ``ending``, for one cycle: cause (hw.spec.NIP_ERRORS); nothing sent
    read_en, address : Out, banks : In   as in the feature output: the feature memory, one cycle latency;
                             the address is that of every bank
    rom_en, rom_addr : Out, rom_data : In   the descriptor ROM, one cycle latency
    tdata, tlast, tvalid : Out, tready : In   the descriptor, a byte a beat
    """

    def __init__(self, config: EngineConfig, nip: NipConfig = NIP) -> None:
        self.config = config
        self.nip = nip
        super().__init__(
            {
                "go": In(1),
                "visit": In(visit_layout(config)),
                "layer": In(layer_layout(config)),
                "command": In(NIP_COMMAND),
                "abort": In(1),
                "active": Out(1),
                "ending": Out(1),
                "error": Out(NIP_ERROR_BITS),
                "read_en": Out(1),
                "address": Out(feature_address_bits(config)),
                "banks": In(data.ArrayLayout(config.word_bits, BANKS)),
                "rom_en": Out(1),
                "rom_addr": Out(bits_for(nip.rom_words - 1)),
                "rom_data": In(DESCRIPTOR_WORD_BITS),
                "tdata": Out(8),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError
