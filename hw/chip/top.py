"""The chip: registers, image stream in, features or descriptor out, one interrupt; ROMs and core inside."""

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.chip.axi_lite import AxiLite
from kestrel.hw.chip.byte_packer import BytePacker
from kestrel.hw.chip.control import Control
from kestrel.hw.chip.core import BYTE, Core
from kestrel.hw.chip.register_file import RegisterFile
from kestrel.hw.chip.rom_check import RomCheck, checked_roms
from kestrel.hw.chip.stream_input import StreamInput
from kestrel.hw.chip.stream_output import StreamOutput
from kestrel.hw.chip.table_watch import TableWatch
from kestrel.hw.common.place import PREFIX, place
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.registers import BY_NAME, FEATURES, IDENTIFICATION, VERSION

PIXEL_BITS = 8
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
        config = chip.engine
        axil = AxiLite()
        setattr(axil, "_MustUse__used", True)
        ports: dict[str, Any] = {
            path[0]: member
            for path, member, _ in axil.signature.flatten(axil)
            if str(path[0]).startswith(AXIL)
        }
        super().__init__(
            ports
            | {
                "s_axis_tdata": In(PIXEL_BITS * config.stream_bytes),
                "s_axis_tvalid": In(1),
                "s_axis_tlast": In(1),
                "s_axis_tready": Out(1),
                "m_axis_tdata": Out(BYTE * config.word_lanes),
                "m_axis_tkeep": Out(config.word_lanes),
                "m_axis_tlast": Out(1),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip, config = self.chip, self.chip.engine

        axil = AxiLite()
        registers = RegisterFile()
        control = Control(chip)
        check = RomCheck(chip)
        watch = TableWatch(config)
        stream_input = StreamInput(config)
        stream_output = StreamOutput(config)
        core = Core(chip)
        rst = ResetSignal("sync")
        soft = rst | registers.control.soft_reset
        core_reset = rst | control.core_abort
        place(m, "axi_lite", axil)
        place(m, "registers", registers, reset=soft)
        place(m, "control", control, reset=soft)
        place(m, "rom_check", check, reset=soft | control.check_abort)
        place(m, "table_watch", watch, reset=soft)
        place(m, "stream_input", stream_input, reset=rst | registers.control.stream_reset)
        place(m, "stream_output", stream_output)
        place(m, "core", core, reset=core_reset)

        # --- registers -----------------------------------------------------------------------------------
        for path, member, value in axil.signature.flatten(axil):
            name = str(path[0])
            if name.startswith(AXIL):
                port = getattr(self, name)
                m.d.comb += value.eq(port) if member.flow == In else port.eq(value)
        m.d.comb += [
            registers.write.eq(axil.write),
            registers.waddr.eq(axil.waddr),
            registers.wdata.eq(axil.wdata),
            registers.wstrb.eq(axil.wstrb),
            axil.write_fault.eq(registers.write_fault),
            registers.read.eq(axil.read),
            registers.raddr.eq(axil.raddr),
            axil.rdata.eq(registers.rdata),
            axil.read_fault.eq(registers.read_fault),
            registers.busy.eq(control.busy),
            core.counter_addr.eq(registers.counter_addr),
            registers.counter_value.eq(core.counter_value),
            registers.error_set.eq(control.causes),
            registers.irq_status_set.eq(control.interrupts),
        ]
        crcs = {f"crc_{rom.name}": check.crcs[rom.name] for rom in check.roms}
        values: dict[str, Any] = {
            "id": IDENTIFICATION,
            "version": BY_NAME["version"].pack(major=VERSION[0], minor=VERSION[1], patch=VERSION[2]),
            "network_crc": check.identity.table_crc,
            "frames": control.frames,
            "cycles": core.cycles,
            "crc_descriptor": 0,
        } | crcs
        for name, value in values.items():
            m.d.comb += getattr(registers, name).as_value().eq(value)
        for name, fields in configuration(chip).items():
            m.d.comb += [getattr(registers, name)[field].eq(value) for field, value in fields.items()]
        m.d.comb += [
            registers.table_size.height.eq(check.identity.image_height),
            registers.table_size.width.eq(check.identity.image_width),
            registers.status.busy.eq(control.busy),
            registers.status.checking.eq(control.checking),
            registers.status.draining.eq(stream_input.draining),
            registers.status.closing.eq(stream_output.closing),
            registers.status.check_good.eq(control.check_good),
            registers.status.check_bad.eq(control.check_bad),
            registers.status.identified.eq(check.identified),
        ]
        irq = Signal()
        pending = registers.irq_status.as_value() & registers.irq_enable.as_value()
        m.d.sync += irq.eq(pending.any())
        m.d.comb += self.irq.eq(irq)

        # --- control -------------------------------------------------------------------------------------
        m.d.comb += [
            control.request.eq(registers.control),
            control.continuous.eq(registers.mode.continuous),
            control.image.eq(registers.image),
            control.errors.eq(registers.error),
            control.write_refused.eq(registers.write_refused),
            control.core_busy.eq(core.busy),
            control.core_done.eq(core.done),
            control.core_error.eq(core.error),
            control.inconsistent.eq(watch.inconsistent),
            control.exceeded.eq(watch.exceeded),
            control.waiting.eq(stream_input.waiting),
            control.check_busy.eq(check.busy),
            control.check_done.eq(check.done),
            control.identified.eq(check.identified),
            control.image_height.eq(check.identity.image_height),
            control.image_width.eq(check.identity.image_width),
            control.good_descriptor.eq(1),
            *(getattr(control, f"good_{rom.name}").eq(check.good[rom.name]) for rom in check.roms),
            core.start.eq(control.core_start),
            check.check.eq(control.check_start),
            stream_input.start.eq(control.core_start),
            stream_input.abort.eq(control.core_abort),
            stream_output.abort.eq(control.core_abort),
        ]

        # --- ROMs: read by the core, or by the self-check while that is busy ------------------------------
        for rom in checked_roms(chip):
            enable, address = Signal(name=f"{rom.name}_en"), Signal(rom.address_bits, name=f"{rom.name}_addr")
            data = Signal(rom.word_bits, name=f"{rom.name}_data")
            for port, signal in (("en", enable), ("addr", address)):
                by_check, by_core = (getattr(unit, f"{rom.name}_{port}") for unit in (check, core))
                m.d.comb += signal.eq(Mux(check.busy, by_check, by_core))
            m.d.comb += [getattr(unit, f"{rom.name}_data").eq(data) for unit in (check, core)]
            m.submodules[rom.name] = Instance(
                PREFIX + "rom",
                p_WIDTH=rom.word_bits,
                p_DEPTH=rom.depth,
                p_ADDR_BITS=rom.address_bits,
                p_INIT_FILE=f"{rom.name}.mem",
                p_PLUSARG=PREFIX + rom.name,
                i_clk=ClockSignal("sync"),
                i_en=enable,
                i_addr=address,
                o_rdata=data,
            )
            if rom.name == "table":
                m.d.comb += [watch.en.eq(enable), watch.addr.eq(address), watch.data.eq(data)]
        m.d.comb += [watch.frame.eq(~check.busy), watch.words.eq(check.identity.table_words)]

        # --- streams -------------------------------------------------------------------------------------
        m.d.comb += [
            stream_input.s_axis_tdata.eq(self.s_axis_tdata),
            stream_input.s_axis_tvalid.eq(self.s_axis_tvalid),
            stream_input.s_axis_tlast.eq(self.s_axis_tlast),
            self.s_axis_tready.eq(stream_input.s_axis_tready),
            core.s_axis_tdata.eq(stream_input.to_tdata),
            core.s_axis_tvalid.eq(stream_input.to_tvalid),
            core.s_axis_tlast.eq(stream_input.to_tlast),
            stream_input.to_tready.eq(core.s_axis_tready),
            stream_output.from_tdata.eq(core.m_axis_tdata),
            stream_output.from_tkeep.eq(core.m_axis_tkeep),
            stream_output.from_tlast.eq(core.m_axis_tlast),
            stream_output.from_tvalid.eq(core.m_axis_tvalid),
            core.m_axis_tready.eq(stream_output.from_tready),
            self.m_axis_tdata.eq(stream_output.m_axis_tdata),
            self.m_axis_tkeep.eq(stream_output.m_axis_tkeep),
            self.m_axis_tlast.eq(stream_output.m_axis_tlast),
            self.m_axis_tvalid.eq(stream_output.m_axis_tvalid),
            stream_output.m_axis_tready.eq(self.m_axis_tready),
        ]
        closing = stream_output.closing
        if chip.descriptor:
            packer = BytePacker(config)
            place(m, "byte_packer", packer, reset=core_reset)
            select = registers.output.select
            m.d.comb += [
                core.describe.eq(select != FEATURES),
                core.command.output.eq(select - 1),
                *(core.command[f.name].eq(registers.part[f.name]) for f in BY_NAME["part"].fields),
                packer.i_tdata.eq(core.d_tdata),
                packer.i_tlast.eq(core.d_tlast),
                packer.i_tvalid.eq(core.d_tvalid),
                core.d_tready.eq(packer.i_tready),
                packer.o_tready.eq(stream_output.from_tready),
            ]
            closing |= packer.o_tvalid
            with m.If(core.describe):
                m.d.comb += [
                    stream_output.from_tdata.eq(packer.o_tdata),
                    stream_output.from_tkeep.eq(packer.o_tkeep),
                    stream_output.from_tlast.eq(packer.o_tlast),
                    stream_output.from_tvalid.eq(packer.o_tvalid),
                ]
        m.d.comb += control.closing.eq(closing)
        return m


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
