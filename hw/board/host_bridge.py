"""The host's requests carried out: registers by AXI4-Lite, the image and what comes out by AXI4-Stream."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.board.frame_receiver import FrameReceiver
from kestrel.hw.board.frame_transmitter import FrameTransmitter
from kestrel.hw.board.image_ring import ImageRing
from kestrel.hw.board.packet_ring import PacketRing
from kestrel.hw.board.serial_receiver import SerialReceiver
from kestrel.hw.board.serial_transmitter import SerialTransmitter
from kestrel.hw.chip.axi_lite import AXI_LITE
from kestrel.hw.common.connections import feed, join, ports, rom_reader, stream
from kestrel.hw.common.place import place
from kestrel.hw.core import feature_stream
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.link import (
    ANSWER_BYTES,
    ANSWERED,
    CRC_BYTES,
    HEADER_BYTES,
    INFO_BYTES,
    OFFSET_BITS,
    PAYLOAD_MAX,
    VALUE_BYTES,
    Kind,
    LinkConfig,
    Mark,
    State,
)
from kestrel.hw.spec.registers import ADDRESS_BITS
from kestrel.hw.spec.widths import BYTE, bits_for

RESET_CYCLES = 16
"""In which the chip is reset by SYNC."""

AXI = "m_axil_"
INFO_READER = rom_reader(bits_for(INFO_BYTES - 1), BYTE)
_VALUE_BITS = BYTE * VALUE_BYTES


class HostBridge(wiring.Component):
    """One request at a time is carried out and answered, and one more may wait; frames of an image are
    accepted or not as they come, and answered when nothing else is. SYNC does not wait for the bus.

    Members
    -------
    rx : In(1), tx : Out(1)   The serial line.
    m_axil_* : AXI4-Lite manager, 32 bits.
    image_* : Out             The image, AXI4-Stream, a byte a beat.
    output_* : In             What comes out of the chip.
    irq : In(1)               The chip's interrupt.
    info_* : Out              Reads the information ROM.
    chip_reset : Out(1)       Resets the chip.
    """

    def __init__(self, config: EngineConfig, link: LinkConfig) -> None:
        self._config, self._link = config, link
        super().__init__(
            {"rx": In(1), "tx": Out(1), "irq": In(1), "chip_reset": Out(1)}
            | ports(AXI, AXI_LITE)
            | ports("image_", stream(BYTE))
            | ports("output_", feature_stream(config).flip())
            | ports("info_", INFO_READER)
        )
        # An answer that frames of an image are owed, and the request that waits.
        self._owed, self._owed_tag, self._owed_kind = Signal(), Signal(BYTE), Signal(BYTE)
        self._waiting = Signal()
        self._next_tag, self._next_kind = Signal(BYTE), Signal(BYTE)
        self._next_where, self._next_value = Signal(OFFSET_BITS), Signal(_VALUE_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        receiver, frames = SerialReceiver(self._link), FrameReceiver()
        image, packets = ImageRing(), PacketRing(self._config)
        answers, transmitter = FrameTransmitter(), SerialTransmitter(self._link)
        place(m, "receiver", receiver)
        place(m, "frames", frames)
        place(m, "image", image, reset=self.chip_reset)
        place(m, "packets", packets, reset=self.chip_reset)
        place(m, "answers", answers)
        place(m, "transmitter", transmitter)
        feed(m, receiver, rx=self.rx)
        feed(m, frames, i_data=receiver.data, i_valid=receiver.valid, i_broken=receiver.broken)
        feed(m, image, data=frames.data, index=frames.index, valid=frames.valid, begins=frames.begins)
        feed(m, transmitter, i_tdata=answers.o_tdata, i_tvalid=answers.o_tvalid)
        feed(m, answers, o_tready=transmitter.i_tready)
        m.d.comb += self.tx.eq(transmitter.tx)
        join(m, stream(BYTE), source=(image, "o_"), sink=(self, "image_"))
        join(m, feature_stream(self._config), source=(self, "output_"), sink=(packets, "i_"))
        self._carry_out(m, image, packets, answers)
        self._requests(m, frames, image)  # behind: what comes in the cycle in which a request is taken stays
        return m

    def _requests(self, m: Module, frames: FrameReceiver, image: ImageRing) -> None:
        """The frame that is coming in, and the request that waits."""
        tag, kind = Signal(BYTE), Signal(BYTE)
        where, value = Signal(OFFSET_BITS), Signal(_VALUE_BITS)
        with m.If(frames.valid):
            with m.Switch(frames.index):
                with m.Case(0):
                    m.d.sync += tag.eq(frames.data)
                with m.Case(1):
                    m.d.sync += kind.eq(frames.data)
                with m.Case(2):
                    m.d.sync += where[:BYTE].eq(frames.data)
                with m.Case(3):
                    m.d.sync += where[BYTE:].eq(frames.data)
                for n in range(VALUE_BYTES):
                    with m.Case(HEADER_BYTES + n):
                        m.d.sync += value.word_select(n, BYTE).eq(frames.data)
        is_image = Signal()
        plain, with_value = Signal(), Signal()  # frames without payload, and with a value
        least = HEADER_BYTES + CRC_BYTES
        of_image = (kind == Kind.IMAGE) | (kind == Kind.IMAGE_END)
        m.d.comb += [
            is_image.eq(frames.good & (frames.count >= least) & of_image),
            plain.eq(frames.count == least),
            with_value.eq(frames.count == least + VALUE_BYTES),
        ]  # fmt: skip
        feed(m, image, offer=is_image, where=where, bytes=frames.count - least, ends=kind == Kind.IMAGE_END)
        with m.If(is_image):
            m.d.sync += [self._owed.eq(1), self._owed_tag.eq(tag), self._owed_kind.eq(kind)]
        sync = (kind == Kind.SYNC) & with_value
        write = (kind == Kind.WRITE) & with_value
        others = ((kind == Kind.READ) | (kind == Kind.TAKE) | (kind == Kind.INFO)) & plain
        with m.If(frames.good & (sync | (write | others) & ~self._waiting)):
            m.d.sync += [
                self._waiting.eq(1),
                self._next_tag.eq(tag), self._next_kind.eq(kind),
                self._next_where.eq(where), self._next_value.eq(value),
            ]  # fmt: skip

    def _carry_out(self, m: Module, image: ImageRing, packets: PacketRing, answers: FrameTransmitter) -> None:
        """The request at hand, from taking it to the end of its answer."""
        tag, kind = Signal(BYTE), Signal(BYTE)
        where, value = Signal(OFFSET_BITS), Signal(_VALUE_BITS)
        fault, refused = Signal(), Signal()
        written, written_tag, written_fault = Signal(), Signal(BYTE), Signal()  # the last WRITE
        cycles = Signal(bits_for(RESET_CYCLES))
        head = Signal(BYTE * ANSWER_BYTES)
        left = Signal(bits_for(PAYLOAD_MAX))
        end = Signal(OFFSET_BITS)  # of the entries that the answer may hold
        held = Signal(BYTE)  # an entry or a byte of the information, on its way into the answer
        synchronise = self._waiting & (self._next_kind == Kind.SYNC)
        state = Signal(BYTE)
        m.d.comb += state.eq(
            Mux(self.irq, State.IRQ, 0) | Mux(fault, State.FAULT, 0) | Mux(refused, State.REFUSED, 0)
        )
        m.d.comb += [
            self.m_axil_araddr.eq(where), self.m_axil_awaddr.eq(where), self.m_axil_wdata.eq(value),
            self.m_axil_wstrb.eq((1 << VALUE_BYTES) - 1),
            packets.where.eq(where), packets.read_at.eq(where), self.info_addr.eq(where),
        ]  # fmt: skip
        beyond = self._next_where[ADDRESS_BITS:].any()
        with m.FSM():
            with m.State("REST"):
                m.d.sync += [fault.eq(0), refused.eq(0), left.eq(PAYLOAD_MAX), cycles.eq(0)]
                with m.If(self._waiting):
                    m.d.sync += [
                        self._waiting.eq(0), tag.eq(self._next_tag), kind.eq(self._next_kind),
                        where.eq(self._next_where), value.eq(self._next_value),
                    ]  # fmt: skip
                    with m.Switch(self._next_kind):
                        with m.Case(Kind.SYNC):
                            m.next = "RESET"
                        with m.Case(Kind.READ):
                            m.d.sync += [fault.eq(beyond), self.m_axil_arvalid.eq(~beyond), value.eq(0)]
                            m.next = "READ"
                        with m.Case(Kind.WRITE):
                            again = written & (written_tag == self._next_tag)
                            with m.If(again | beyond):
                                m.d.sync += [fault.eq(Mux(again, written_fault, 1)), value.eq(0)]
                                m.next = "ANSWER"
                            with m.Else():
                                m.d.sync += [self.m_axil_awvalid.eq(1), self.m_axil_wvalid.eq(1)]
                                m.next = "WRITE"
                        with m.Case(Kind.TAKE):
                            m.next = "RELEASE"
                        with m.Default():
                            m.d.sync += value.eq(0)
                            m.next = "ANSWER"
                with m.Elif(self._owed):
                    m.d.sync += [
                        self._owed.eq(0), tag.eq(self._owed_tag), kind.eq(self._owed_kind), value.eq(0),
                    ]  # fmt: skip
                    m.next = "ANSWER"
            with m.State("RESET"):
                m.d.comb += self.chip_reset.eq(1)
                m.d.sync += [cycles.eq(cycles + 1), written.eq(0)]
                with m.If(cycles == RESET_CYCLES - 1):
                    m.next = "ANSWER"
            with m.State("READ"):
                with m.If(self.m_axil_arready):
                    m.d.sync += self.m_axil_arvalid.eq(0)
                m.d.comb += self.m_axil_rready.eq(1)
                with m.If(fault):
                    m.next = "ANSWER"
                with m.Elif(self.m_axil_rvalid):
                    m.d.sync += [value.eq(self.m_axil_rdata), fault.eq(self.m_axil_rresp.any())]
                    m.next = "ANSWER"
                with m.Elif(synchronise):
                    m.d.sync += self.m_axil_arvalid.eq(0)
                    m.next = "REST"
            with m.State("WRITE"):
                with m.If(self.m_axil_awready):
                    m.d.sync += self.m_axil_awvalid.eq(0)
                with m.If(self.m_axil_wready):
                    m.d.sync += self.m_axil_wvalid.eq(0)
                m.d.comb += self.m_axil_bready.eq(1)
                with m.If(self.m_axil_bvalid):
                    m.d.sync += [
                        fault.eq(self.m_axil_bresp.any()), written_fault.eq(self.m_axil_bresp.any()),
                        written.eq(1), written_tag.eq(tag), value.eq(0),
                    ]  # fmt: skip
                    m.next = "ANSWER"
                with m.Elif(synchronise):
                    m.d.sync += [self.m_axil_awvalid.eq(0), self.m_axil_wvalid.eq(0)]
                    m.next = "REST"
            with m.State("RELEASE"):
                m.d.comb += packets.release.eq(1)
                m.d.sync += [refused.eq(~packets.known), value.eq(0)]
                m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.sync += [
                    head.eq(Cat(tag, kind | ANSWERED, state, image.accepted,
                                Cat(image.room, Const(0, OFFSET_BITS - len(image.room))), packets.produced,
                                value)),
                    cycles.eq(ANSWER_BYTES - 1),
                    end.eq(Mux(refused, where, packets.produced)),
                ]  # fmt: skip
                m.next = "HEAD"
            with m.State("HEAD"):
                payload = (kind == Kind.TAKE) | (kind == Kind.INFO)
                m.d.comb += [
                    answers.i_tdata.eq(head[:BYTE]), answers.i_tvalid.eq(1),
                    answers.i_tlast.eq((cycles == 0) & ~payload),
                ]  # fmt: skip
                with m.If(answers.i_tready):
                    m.d.sync += [head.eq(head >> BYTE), cycles.eq(cycles - 1)]
                    with m.If(cycles == 0):
                        m.next = "REST"
                        with m.If(kind == Kind.TAKE):
                            m.next = "ENTRY"
                        with m.If(kind == Kind.INFO):
                            m.next = "INFO"
            with m.State("ENTRY"):
                m.d.sync += held.eq(Mark.NONE)
                m.next = "MARK"
                with m.If((where != end) & (left != 0)):
                    m.d.comb += packets.read.eq(1)
                    m.next = "FETCHED"
            with m.State("FETCHED"):
                m.d.sync += [held.eq(packets.entry[:BYTE]), where.eq(where + 1), left.eq(left - 1)]
                m.next = "BYTE"
                with m.If(packets.entry[BYTE]):
                    m.next = "MARK"
            with m.State("BYTE"):
                m.d.comb += [answers.i_tdata.eq(held), answers.i_tvalid.eq(1)]
                with m.If(answers.i_tready):
                    m.next = "ENTRY"
            with m.State("MARK"):
                m.d.comb += [answers.i_tdata.eq(held), answers.i_tvalid.eq(1), answers.i_tlast.eq(1)]
                with m.If(answers.i_tready):
                    m.next = "REST"
            with m.State("INFO"):
                m.d.comb += self.info_en.eq(1)
                m.d.sync += [where.eq(where + 1), left.eq(left - 1)]
                m.next = "INFO FETCHED"
            with m.State("INFO FETCHED"):
                # From a register, as an entry is: a block RAM's output is late in its cycle.
                m.d.sync += held.eq(self.info_data)
                m.next = "INFO BYTE"
            with m.State("INFO BYTE"):
                m.d.comb += [
                    answers.i_tdata.eq(held), answers.i_tvalid.eq(1), answers.i_tlast.eq(left == 0),
                ]  # fmt: skip
                with m.If(answers.i_tready):
                    m.next = "INFO"
                    with m.If(left == 0):
                        m.next = "REST"
