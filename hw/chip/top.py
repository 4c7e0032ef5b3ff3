"""The chip: registers, image stream in, features or descriptor out, one interrupt; ROMs and core inside."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from kestrel.hw.chip.axi_lite import AXI_LITE, REGISTER_ACCESS, AxiLite
from kestrel.hw.chip.byte_packer import BytePacker
from kestrel.hw.chip.control import Control
from kestrel.hw.chip.register_file import RegisterFile
from kestrel.hw.chip.rom_check import RomCheck, checked_roms
from kestrel.hw.chip.stream_input import StreamInput
from kestrel.hw.chip.stream_output import StreamOutput
from kestrel.hw.chip.table_watch import TableWatch
from kestrel.hw.common.connections import feed, join, ports, stream
from kestrel.hw.common.memories import rom
from kestrel.hw.common.place import place
from kestrel.hw.core import Core, feature_stream, image_stream
from kestrel.hw.descriptor.unit import DescriptorUnit
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DESCRIPTOR_ERROR_BASE
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.registers import BY_NAME, FEATURES, IDENTIFICATION, VERSION
from kestrel.hw.spec.status import ERROR_BITS

AXIL = "s_axil_"


class Top(wiring.Component):
    """One clock; ``rst`` is synchronous, active high.

    Members
    -------
    s_axil_* : AXI4-Lite slave, 32 bits, ``kestrel.hw.spec.registers``
    s_axis_* : image, AXI4-Stream of ``stream_bytes`` bytes, see kestrel.hw.memory.image_input
    m_axis_* : features or descriptor, AXI4-Stream of ``word_lanes`` bytes
    irq : Out(1)   an enabled interrupt is pending; from a register
    """

    def __init__(self, chip: ChipConfig) -> None:
        self.chip = chip
        super().__init__(
            ports(AXIL, AXI_LITE.flip())
            | ports("s_axis_", image_stream(chip.engine).flip())
            | ports("m_axis_", feature_stream(chip.engine))
            | {"irq": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        blocks = Blocks.placed(m, self.chip)
        self._registers(m, blocks)
        self._values(m, blocks)
        self._control(m, blocks)
        self._interrupt(m, blocks)
        self._streams(m, blocks)
        readers: dict[str, tuple[Any, str]] = {
            "table": (blocks.core, "table_"),
            "weights": (blocks.core, "weights_"),
        }
        closing = blocks.stream_output.closing
        if self.chip.descriptor:
            unit = DescriptorUnit(self.chip.engine, self.chip.descriptor)
            packer = BytePacker(self.chip.engine)
            place(m, "descriptor_unit", unit, reset=blocks.control.core_abort)
            place(m, "byte_packer", packer, reset=blocks.control.core_abort)
            self._describe(m, blocks, unit)
            self._pack(m, blocks, unit, packer)
            readers["descriptor"] = (unit, "rom_")
            closing |= packer.o_tvalid
        feed(m, blocks.control, closing=closing)
        self._roms(m, blocks, readers)
        return m

    def _registers(self, m: Module, blocks: "Blocks") -> None:
        """From the bus to the registers."""
        axil, registers, core, control = blocks.axi_lite, blocks.registers, blocks.core, blocks.control
        join(m, AXI_LITE, source=(self, AXIL), sink=(axil, AXIL))
        join(m, REGISTER_ACCESS, source=(axil, ""), sink=(registers, ""))
        feed(m, core, counter_addr=registers.counter_addr)
        feed(
            m,
            registers,
            busy=control.busy,
            counter_value=core.counter_value,
            error_set=control.causes,
            irq_status_set=control.interrupts,
        )

    def _values(self, m: Module, blocks: "Blocks") -> None:
        """What the read-only registers show."""
        registers, control, check = blocks.registers, blocks.control, blocks.rom_check
        values: dict[str, Any] = {
            "id": IDENTIFICATION,
            "version": BY_NAME["version"].pack(major=VERSION[0], minor=VERSION[1], patch=VERSION[2]),
            "network_crc": check.identity.table_crc,
            "frames": control.frames,
            "cycles": blocks.core.cycles,
            "crc_descriptor": 0,
        } | {f"crc_{checked.name}": check.crcs[checked.name] for checked in check.roms}
        for name, value in values.items():
            m.d.comb += getattr(registers, name).as_value().eq(value)
        fields: dict[str, dict[str, Any]] = {
            **configuration(self.chip),
            "table_size": {"height": check.identity.image_height, "width": check.identity.image_width},
            "status": {
                "busy": control.busy,
                "checking": control.checking,
                "draining": blocks.stream_input.draining,
                "closing": blocks.stream_output.closing,
                "check_good": control.check_good,
                "check_bad": control.check_bad,
                "identified": check.identified,
            },
        }
        for name, shown in fields.items():
            m.d.comb += [getattr(registers, name)[field].eq(value) for field, value in shown.items()]

    def _control(self, m: Module, blocks: "Blocks") -> None:
        """Who tells the control what, and what it starts and ends."""
        registers, control, core = blocks.registers, blocks.control, blocks.core
        check, watch = blocks.rom_check, blocks.table_watch
        feed(
            m,
            control,
            request=registers.control,
            continuous=registers.mode.continuous,
            image=registers.image,
            errors=registers.error,
            write_refused=registers.write_refused,
            core_busy=core.busy,
            core_done=core.done,
            core_error=core.error,
            inconsistent=watch.inconsistent,
            exceeded=watch.exceeded,
            waiting=blocks.stream_input.waiting,
            check_busy=check.busy,
            check_done=check.done,
            identified=check.identified,
            image_height=check.identity.image_height,
            image_width=check.identity.image_width,
            good_descriptor=1,
        )
        feed(m, control, **{f"good_{checked.name}": check.good[checked.name] for checked in check.roms})
        feed(m, core, start=control.core_start)
        feed(m, check, check=control.check_start)
        feed(m, blocks.stream_input, abort=control.core_abort)
        feed(m, blocks.stream_output, abort=control.core_abort)

    def _interrupt(self, m: Module, blocks: "Blocks") -> None:
        irq = Signal()
        pending = blocks.registers.irq_status.as_value() & blocks.registers.irq_enable.as_value()
        m.d.sync += irq.eq(pending.any())
        m.d.comb += self.irq.eq(irq)

    def _streams(self, m: Module, blocks: "Blocks") -> None:
        """Image in, features out."""
        image, features = image_stream(self.chip.engine), feature_stream(self.chip.engine)
        stream_input, stream_output, core = blocks.stream_input, blocks.stream_output, blocks.core
        join(m, image, source=(self, "s_axis_"), sink=(stream_input, "s_axis_"))
        join(m, image, source=(stream_input, "to_"), sink=(core, "s_axis_"))
        join(m, features, source=(core, "m_axis_"), sink=(stream_output, "from_"))
        join(m, features, source=(stream_output, "m_axis_"), sink=(self, "m_axis_"))

    def _describe(self, m: Module, blocks: "Blocks", unit: DescriptorUnit) -> None:
        """Hand the output visits of a frame that ends in a descriptor to the descriptor unit."""
        registers, core = blocks.registers, blocks.core
        select = registers.output.select
        feed(m, unit, **{name: getattr(core, f"other_{name}") for name in ("go", "visit", "layer", "banks")})
        m.d.comb += unit.command.output.eq(select - 1)
        m.d.comb += [unit.command[f.name].eq(registers.part[f.name]) for f in BY_NAME["part"].fields]
        error = Signal(ERROR_BITS, name="descriptor_error")
        with m.If(unit.error != 0):
            m.d.comb += error.eq(unit.error + DESCRIPTOR_ERROR_BASE)
        feed(
            m,
            core,
            other_chosen=select != FEATURES,
            other_active=unit.active,
            other_ending=unit.ending,
            other_error=error,
            other_read_en=unit.read_en,
            other_address=unit.address,
        )

    def _pack(self, m: Module, blocks: "Blocks", unit: DescriptorUnit, packer: BytePacker) -> None:
        """The descriptor's bytes take the place of the features."""
        stream_output = blocks.stream_output
        join(m, stream(8), source=(unit, ""), sink=(packer, "i_"))
        feed(m, packer, o_tready=stream_output.from_tready)
        with m.If(blocks.core.other_chosen):
            feed(
                m,
                stream_output,
                from_tdata=packer.o_tdata,
                from_tkeep=packer.o_tkeep,
                from_tlast=packer.o_tlast,
                from_tvalid=packer.o_tvalid,
            )

    def _roms(self, m: Module, blocks: "Blocks", readers: dict[str, tuple[Any, str]]) -> None:
        """Each ROM is read by its reader, or by the self-check while that is busy."""
        check, watch = blocks.rom_check, blocks.table_watch
        for checked in checked_roms(self.chip):
            name = checked.name
            reader, prefix = readers[name]
            en, addr = Signal(name=f"{name}_en"), Signal(checked.address_bits, name=f"{name}_addr")
            word = Signal(checked.word_bits, name=f"{name}_data")
            for port, signal in (("en", en), ("addr", addr)):
                by_check, by_reader = getattr(check, f"{name}_{port}"), getattr(reader, f"{prefix}{port}")
                m.d.comb += signal.eq(Mux(check.busy, by_check, by_reader))
            feed(m, check, **{f"{name}_data": word})
            feed(m, reader, **{f"{prefix}data": word})
            rom(m, name, width=checked.word_bits, depth=checked.depth, en=en, addr=addr, rdata=word)
            if name == "table":
                feed(m, watch, en=en, addr=addr, data=word)
        feed(m, watch, frame=~check.busy, words=check.identity.table_words)


@dataclass(frozen=True)
class Blocks:
    """The chip's blocks but those of the descriptor; the names are those of the instances."""

    core: Core
    axi_lite: AxiLite
    registers: RegisterFile
    control: Control
    rom_check: RomCheck
    table_watch: TableWatch
    stream_input: StreamInput
    stream_output: StreamOutput

    @classmethod
    def placed(cls, m: Module, chip: ChipConfig) -> "Blocks":
        """The blocks, in ``m``, each with what resets it. An abort resets the core, a soft reset everything
        but the bus and the streams, which end what they have begun."""
        config = chip.engine
        blocks = cls(
            Core(config, other_output=chip.descriptor is not None),
            AxiLite(),
            RegisterFile(),
            Control(chip),
            RomCheck(chip),
            TableWatch(config),
            StreamInput(config),
            StreamOutput(config),
        )
        soft = blocks.registers.control.soft_reset
        resets = {
            "core": blocks.control.core_abort,
            "registers": soft,
            "control": soft,
            "rom_check": soft | blocks.control.check_abort,
            "table_watch": soft,
            "stream_input": blocks.registers.control.stream_reset,
        }
        for name, block in vars(blocks).items():
            place(m, name, block, reset=resets.get(name))
        return blocks


def configuration(chip: ChipConfig) -> dict[str, dict[str, int]]:
    """Fields of the configuration registers."""
    config: EngineConfig = chip.engine
    return {
        "config0": {
            "input_lanes": config.input_lanes,
            "output_lanes": config.output_lanes,
            "load_kernels": config.load_kernels,
            "stream_bytes": config.stream_bytes,
        },
        "config1": {
            "activation_bits": config.activation_bits,
            "mask_bits_max": config.mask_bits_max,
            "row_groups": int(config.row_groups),
            "descriptor": int(chip.descriptor is not None),
            "startup_check": int(chip.startup_check),
            "word_lanes": config.word_lanes,
        },
    }
