"""Bench of a chip with a descriptor unit: descriptors of one frame, of crops and of rotations, against the
integer model."""

import cocotb
from cocotb.triggers import FallingEdge

from kestrel.hw.spec.registers import DESCRIPTOR_BITS, DESCRIPTOR_BYTES, FEATURES, RAW_SUMS
from kestrel.sw.retrieval.pooling.integer_nip import IntegerNip, output_length
from kestrel.verif.blocks.support.simulator import fail, rng
from kestrel.verif.cases.engine_case import descriptor_constants
from kestrel.verif.chip.ports import MODEL, NETWORK_SEED, OUTPUTS, PICTURES, Chip

CONSTANTS = descriptor_constants(NETWORK_SEED, OUTPUTS)
KINDS = (DESCRIPTOR_BYTES, DESCRIPTOR_BITS, RAW_SUMS)
WHOLE = {"first_crop": 1, "last_crop": 1, "first_rotation": 1, "last_rotation": 1}


async def part(chip, picture, models, flags):
    """One frame of a descriptor; the output is compared with that of the models, one for each map."""
    await chip.idle()
    await chip.write("irq_enable", done=1, error=1)
    await chip.write("part", **flags)
    await chip.send(picture)
    await chip.write("control", start=1)
    status = await chip.interrupt()
    if status != 1:
        raise fail(f"interrupts {status:#x}, {await chip.errors()}")
    wanted = b"".join(
        model.frame(maps[picture], **{name: bool(flag) for name, flag in flags.items()})
        for model, maps in zip(models, OUTPUTS, strict=True)
    )
    if wanted:
        beats = await chip.packet()
        found = bytes(b for b, keep in zip(beats.tdata, beats.tkeep, strict=True) if keep)
        if found != wanted or len(wanted) != output_length(CONSTANTS, models[0].output):
            raise fail(f"descriptor of {flags}: {found.hex()}, not {wanted.hex()}")
    await chip.idle()
    for _ in range(4):
        await FallingEdge(chip.dut.clk)
    if not chip.sink.empty():
        raise fail("more came out than a descriptor")


async def descriptor(chip, source, output):
    """A whole descriptor of random crops and rotations."""
    await chip.idle()
    await chip.write("output", select=output)
    models = [IntegerNip(constants, output - 1) for constants in CONSTANTS.maps]
    crops, turns = source.choice(((1, 1), (2, 1), (1, 2), (3, 2)))
    for turn in range(turns):
        for crop in range(crops):
            flags = {
                "first_crop": crop == 0, "last_crop": crop == crops - 1,
                "first_rotation": turn == 0, "last_rotation": turn == turns - 1,
            }  # fmt: skip
            flags = {name: int(flag) for name, flag in flags.items()}
            await part(chip, source.randrange(len(PICTURES)), models, flags)


@cocotb.test()
async def descriptors(dut):
    chip = await Chip.begin(dut)
    source = rng("descriptors")
    for output in KINDS * 3:
        chip.pause(source, source.choice((0, 0, 0.4)))
        await descriptor(chip, source, output)
        if source.random() < 0.3:
            await chip.write("output", select=FEATURES)
            await chip.frame(0)


@cocotb.test()
async def aborts_and_soft_resets(dut):
    """In any cycle of a frame that ends in a descriptor; the next descriptor contains nothing of it."""
    chip = await Chip.begin(dut)
    source = rng("aborts")
    for turn in range(10):
        chip.pause(source, source.choice((0, 0.3)))
        await chip.idle()
        await chip.write("output", select=source.choice(KINDS))
        await chip.write("part", **{**WHOLE, "last_crop": source.randrange(2)})
        await chip.send(0)
        await chip.write("control", start=1)
        await chip.cycles(source.randrange(2 * MODEL.total))
        await chip.write("control", **{"soft_reset" if turn % 3 == 2 else "abort": 1})
        await chip.restart(0)
        await descriptor(chip, source, source.choice(KINDS))


@cocotb.test()
async def a_part_that_continues_nothing(dut):
    chip = await Chip.begin(dut)
    source = rng("sequence")
    await chip.idle()
    await chip.write("output", select=DESCRIPTOR_BYTES)
    await chip.write("irq_enable", error=1)
    for flags in ({**WHOLE, "first_crop": 0}, {**WHOLE, "first_rotation": 0}):
        await chip.write("part", **flags)
        await chip.send(1)
        await chip.write("control", start=1)
        await chip.interrupt()
        causes = await chip.errors()
        if causes != {"part_sequence"}:
            raise fail(f"causes {causes}")
        await descriptor(chip, source, DESCRIPTOR_BYTES)


@cocotb.test()
async def the_self_check_covers_the_descriptor_rom(dut):
    chip = await Chip.begin(dut)
    await chip.idle()
    await chip.write("control", check=1)
    await chip.idle()
    if not await chip.field("status", "check_good") or not await chip.read("crc_descriptor"):
        raise fail("the check failed")
