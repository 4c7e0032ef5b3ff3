"""Bench of the whole chip on its ports: registers, frames, and what may go wrong in them."""

import cocotb
from cocotb.triggers import FallingEdge, Timer
from cocotbext.axi import AxiResp, AxiStreamFrame

from kestrel.hw.chip.top import configuration
from kestrel.hw.spec.registers import BY_NAME, COUNTER_REGISTERS, IDENTIFICATION, REGISTERS
from kestrel.hw.spec.status import COUNTERS
from kestrel.verif.blocks.support.simulator import fail, rng
from kestrel.verif.chip.ports import CHIP, CONFIG, EXPECTED, IMAGES, MODEL, PICTURES, PLAN, Chip

STATUS_AFTER_RESET = BY_NAME["status"].pack(identified=1)


def expect(what, found, wanted):
    if found != wanted:
        raise fail(f"{what}: {found!r}, not {wanted!r}")


@cocotb.test()
async def registers_after_reset(dut):
    """Every register's value; bits that do not exist read 0, whatever was written."""
    chip = await Chip.begin(dut)
    await chip.idle()
    sizes = BY_NAME["table_size"].pack(height=PLAN.height, width=PLAN.width)
    known = {"id": IDENTIFICATION, "table_size": sizes, "status": STATUS_AFTER_RESET}
    known |= {name: BY_NAME[name].pack(**values) for name, values in configuration(CHIP).items()}
    for register in REGISTERS:
        value = await chip.read(register.name)
        if register.name in {"network_crc", "version", "counters", "record_cycles"}:
            continue
        expect(register.name, value, known.get(register.name, register.reset))
        if register.access == "rw":
            await chip.raw_write(register.address, b"\xff\xff\xff\xff")
            expect(register.name, await chip.read(register.name), register.mask)
            await chip.write(register.name)


@cocotb.test()
async def byte_strobes_and_hammering(dut):
    """Writes of one to four bytes at any place, with pauses on every channel, against a model."""
    chip = await Chip.begin(dut)
    await chip.idle()
    source = rng("strobes")
    models = {name: bytearray(4) for name in ("scratch", "image", "irq_enable")}
    for turn in range(150):
        if turn % 30 == 0:
            chip.pause(source, source.choice((0, 0.2, 0.6)))
        name = source.choice(list(models))
        register, model = BY_NAME[name], models[name]
        first = source.randrange(4)
        data = source.randbytes(source.randrange(1, 5 - first))
        answer = await chip.raw_write(register.address + first, data)
        expect("answer", answer.resp, AxiResp.OKAY)
        model[first : first + len(data)] = data
        kept = int.from_bytes(model, "little") & register.mask
        model[:] = kept.to_bytes(4, "little")
        expect(name, await chip.read(name), kept)


@cocotb.test()
async def addresses_without_a_register(dut):
    chip = await Chip.begin(dut)
    source = rng("unmapped")
    mapped = {r.address + 4 * n: r for r in REGISTERS for n in range(r.count)}
    for address in [source.randrange(1024) * 4 for _ in range(60)] + [0x054, 0x7FC, 0xC20, 0xFFC]:
        register = mapped.get(address)
        answer = await chip.raw_read(address, 4)
        expect(f"reading {address:#x}", answer.resp, AxiResp.OKAY if register else AxiResp.SLVERR)
        if register is None or register.access == "ro":
            answer = await chip.raw_write(address, bytes(4))
            expect(f"writing {address:#x}", answer.resp, AxiResp.SLVERR)
    expect("errors", await chip.errors(), set())


@cocotb.test()
async def a_frame(dut):
    """Features, irq, counters; without pauses as many cycles as the closed form."""
    chip = await Chip.begin(dut)
    await chip.frame(0)
    expect("frames", await chip.read("frames"), 1)
    expect("cycles", await chip.read("cycles"), MODEL.total)
    counts = {name: await chip.read("counters", n) for n, name in enumerate(COUNTERS)}
    expect("busy", counts["busy"], MODEL.total)
    expect("sum", sum(counts[name] for name in COUNTERS[1:]), MODEL.total)
    for n, record in enumerate(MODEL.records):
        expect(f"record {n}", await chip.read(COUNTER_REGISTERS[0], 1 + n), record.cycles)


@cocotb.test()
async def frames_with_pauses(dut):
    chip = await Chip.begin(dut)
    source = rng("pauses")
    for turn in range(6):
        chip.pause(source, source.choice((0.1, 0.5, 0.8)))
        await chip.frame(turn % len(PICTURES))


@cocotb.test()
async def back_to_back_by_itself(dut):
    """Continuous mode: pictures without a beat between them, never mixed."""
    chip = await Chip.begin(dut)
    source = rng("continuous")
    await chip.idle()
    await chip.write("mode", continuous=1)
    for share in (0, 0.4):
        chip.pause(source, share)
        order = [source.randrange(len(PICTURES)) for _ in range(5)]
        for picture in order:
            await chip.send(picture)
        for picture in order:
            await chip.features(picture)
    await chip.idle()
    expect("frames", await chip.read("frames"), 10)


@cocotb.test()
async def frames_of_a_wrong_length(dut):
    """Frames too short or too long by any number of beats are reported, and the next one is right."""
    chip = await Chip.begin(dut)
    source = rng("length")
    whole = IMAGES[0]
    step = CONFIG.stream_bytes
    beats = len(whole) // step
    cases = [1, beats - 1, beats + 1, beats + 2, 3 * beats]
    cases += [source.randrange(1, 2 * beats) for _ in range(4)]
    for count in cases:
        if count == beats:
            continue
        chip.pause(source, source.choice((0, 0.4)))
        await chip.idle()
        await chip.source.send(AxiStreamFrame((whole * 4)[: count * step]))
        await chip.write("irq_enable", error=1)
        await chip.write("control", start=1)
        status = BY_NAME["irq_status"].unpack(await chip.interrupt())
        expect(f"interrupts of {count} of {beats} beats", status, {"done": 0, "error": 1, "checked": 0})
        expect("cause", await chip.errors(), {"frame_short" if count < beats else "frame_long"})
        await chip.frame(1)
    expect("frames", await chip.read("frames"), sum(count != beats for count in cases))


@cocotb.test()
async def writes_while_busy(dut):
    """Locked registers, start and check are refused with a cause, others take effect; the frame is right."""
    chip = await Chip.begin(dut)
    source = rng("busy")
    await chip.idle()
    before = {r.name: await chip.read(r.name) for r in REGISTERS if r.locked}
    await chip.write("control", start=1)  # and no picture
    while not await chip.field("status", "busy"):
        pass
    for _ in range(40):
        register = source.choice([r for r in REGISTERS if r.access != "ro" and r.name != "control"])
        word = source.randbytes(4)
        answer = await chip.raw_write(register.address, word)
        refused = answer.resp != AxiResp.OKAY
        expect(f"refusal of {register.name}", refused, register.locked)
        expect("cause", "write_busy" in await chip.errors(), register.locked)
        expect("locked registers", {name: await chip.read(name) for name in before}, before)
    for request in ("start", "check"):
        expect(request, await chip.try_write("control", **{request: 1}), False)
        expect("cause", await chip.errors(), {"write_busy"})
    await chip.write("control", abort=1)
    expect("cause", await chip.errors(), {"aborted"})
    await chip.frame(2)


@cocotb.test()
async def registers_hammered_during_frames(dut):
    chip = await Chip.begin(dut)
    source = rng("hammer")
    ended = False

    async def hammer():
        count = 0
        while not ended:
            register = source.choice(
                [r for r in REGISTERS if r.name not in {"control", "irq_status", "mode"}]
            )
            if source.random() < 0.5 or register.name == "irq_enable":
                await chip.raw_read(register.address, 4)
            elif register.name in {"scratch", "id", "frames", "table_size", "status"}:
                await chip.raw_write(register.address, source.randbytes(4))
            count += 1
        return count

    for share in (0, 0.3, 0):
        chip.pause(source, share)
        ended = False
        task = cocotb.start_soon(hammer())
        await chip.frame(source.randrange(len(PICTURES)))
        ended = True
        if await task < 10:
            raise fail("hardly a request")


@cocotb.test()
async def aborts(dut):
    """Aborts in any cycle of a frame; the rest of the picture is still sent, and is discarded."""
    chip = await Chip.begin(dut)
    source = rng("aborts")
    seen = 0
    for _ in range(12):
        chip.pause(source, source.choice((0, 0.3)))
        await chip.idle()
        await chip.errors()
        before = await chip.read("frames")
        await chip.send(0)
        await chip.write("control", start=1)
        await chip.cycles(source.randrange(MODEL.total))
        await chip.write("control", abort=1)
        await chip.idle()
        aborted = "aborted" in await chip.errors()
        expect("frames that ended well", await chip.read("frames") - before, int(not aborted))
        seen += aborted
        await chip.restart(0)
        await chip.frame(1)
    if not seen:
        raise fail("no abort came in time")


@cocotb.test()
async def an_aborted_packet_is_closed(dut):
    """Aborts while features leave: what was sent is right, and ends in a beat without bytes."""
    chip = await Chip.begin(dut)
    source = rng("closing")
    whole = EXPECTED[0].transpose(1, 2, 0).tobytes()
    for _ in range(6):
        await chip.idle()
        await chip.errors()
        chip.sink.pause = True
        await chip.send(0)
        await chip.write("control", start=1)
        while not dut.m_axis_tvalid.value:
            await FallingEdge(dut.clk)
        await chip.cycles(source.randrange(20))
        await chip.write("control", abort=1)
        chip.sink.pause = False
        for _ in range(100 + len(whole)):
            await FallingEdge(dut.clk)
            if not chip.sink.empty():
                break
        else:
            raise fail("an aborted packet was not closed")
        beats = chip.sink.recv_nowait(compact=False)
        sent = bytes(b for b, keep in zip(beats.tdata, beats.tkeep, strict=True) if keep)
        await chip.idle()
        aborted = "aborted" in await chip.errors()  # else so few beats that all of them had left the core
        expect("a beat without bytes", not any(beats.tkeep[-CONFIG.word_lanes :]), aborted)
        if not whole.startswith(sent) or aborted == (sent == whole):
            raise fail(f"{len(sent)} of {len(whole)} bytes, aborted {aborted}")
        await chip.frame(1)


@cocotb.test()
async def the_self_check_is_good(dut):
    chip = await Chip.begin(dut)
    await chip.idle()
    await chip.write("irq_enable", checked=1)
    await chip.write("control", check=1)
    expect("interrupts", await chip.interrupt(), BY_NAME["irq_status"].pack(checked=1))
    status = BY_NAME["status"].unpack(await chip.read("status"))
    expect("good, bad", (status["check_good"], status["check_bad"]), (1, 0))
    expect("network", await chip.read("crc_table"), await chip.read("network_crc"))
    await chip.frame(0)
    await chip.write("control", check=1)
    await chip.write("control", abort=1)
    expect("cause", await chip.errors(), {"aborted"})
    await chip.idle()
    await chip.frame(1)


@cocotb.test()
async def image_sizes(dut):
    """An image size that the host sets is compared with the table's."""
    chip = await Chip.begin(dut)
    await chip.idle()
    for height, width in ((PLAN.height + 1, PLAN.width), (PLAN.height, PLAN.width - 1), (0, PLAN.width)):
        await chip.write("image", height=height, width=width)
        await chip.write("control", start=1)
        await chip.cycles(4)
        expect("cause", await chip.errors(), {"image_size"})
        expect("busy", await chip.field("status", "busy"), 0)
    await chip.write("image", height=PLAN.height, width=PLAN.width)
    await chip.frame(0)


@cocotb.test()
async def no_combinational_paths(dut):
    """If inputs of one side change in the middle of a cycle, no output may follow before the clock edge."""
    chip = await Chip.begin(dut)
    source = rng("paths")
    inputs = ["s_axis_tvalid", "s_axis_tlast", "s_axis_tdata", "m_axis_tready"]
    inputs += [f"s_axil_{name}" for name in (
        "awvalid", "awaddr", "wvalid", "wdata", "wstrb", "bready", "arvalid", "araddr", "rready",
    )]  # fmt: skip
    outputs = ["s_axis_tready", "m_axis_tvalid", "m_axis_tdata", "m_axis_tkeep", "m_axis_tlast", "irq"]
    outputs += [f"s_axil_{name}" for name in (
        "awready", "wready", "bvalid", "bresp", "arready", "rvalid", "rdata", "rresp",
    )]  # fmt: skip
    chip.pause(source, 0.3)
    frames = cocotb.start_soon(_frames(chip))
    checked = 0
    while not frames.done():
        await FallingEdge(dut.clk)
        before = [int(getattr(dut, name).value) for name in outputs]
        held = {name: getattr(dut, name).value for name in inputs}
        for name in inputs:
            port = getattr(dut, name)
            port.value = source.getrandbits(len(port))
        await Timer(1, unit="ns")
        after = [int(getattr(dut, name).value) for name in outputs]
        for name, value in held.items():
            getattr(dut, name).value = value
        expect("outputs", after, before)
        checked += 1
    await frames
    if checked < MODEL.total:
        raise fail(f"only {checked} cycles were looked at")


async def _frames(chip):
    for picture in range(2):
        await chip.frame(picture)
