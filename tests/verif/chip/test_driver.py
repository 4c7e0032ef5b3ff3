"""Both drivers against the simulated chip: the C one linked to the model, the Python one in cocotb."""

import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.retrieval.pooling.integer_nip import describe
from kestrel.verif.build.rtl import build_chip
from kestrel.verif.cases.engine_case import descriptor_constants
from kestrel.verif.cases.rom_image import read_rom, write_rom
from kestrel.verif.chip.case import run_chip, write_case
from kestrel.verif.chip.expected import load_outputs
from kestrel.verif.chip.small import SMALL
from kestrel.verif.simulate.chip_frame import ChipInput, DriverError, Queue, run_chip_frames
from kestrel.verif.simulate.frame import Pauses

CHIP = ChipConfig(SMALL, DescriptorConfig(8, 256))
CASE = "tiny"


DRIVER = Path(str(resources.files("kestrel.sw") / "driver"))
STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Werror")

LONG_CASE = "rows"
BEATS, BYTES = 180, 270
"""Of its packets: 10 x 9 pixels of three channels, two to a beat."""

BOARDS = {"DMA": None, "queue": Queue(BEATS), "queue that is emptied": Queue(BEATS, blind=True)}


def features(workdir):
    return [values.transpose(1, 2, 0).tobytes() for values in load_outputs(workdir)[-1]]


def run_frames(inputs, workdir, seed, **options):
    return run_chip_frames(build_chip(CHIP), CHIP.engine, inputs, workdir, check=False, seed=seed, **options)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_c_driver_compiles_without_a_warning(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    command = [compiler, *STRICT, "-c", DRIVER / "kestrel_driver.c", "-o", tmp_path / "driver.o"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("share", [0, 0.4])
@pytest.mark.parametrize("board", BOARDS)
def test_the_c_driver_gets_features(board, share, tmp_path, seed):
    made = write_case(CHIP, LONG_CASE, seed, tmp_path)
    run = run_chip_frames(
        build_chip(CHIP), CHIP.engine, [ChipInput(p) for p in made.pictures], tmp_path,
        pauses=Pauses(seed, share), seed=seed, queue=BOARDS[board],
    )  # fmt: skip
    assert [output.data for output in run.outputs] == features(tmp_path)
    assert run.frames == len(made.pictures)
    assert {result for _, result in run.calls} == {"ok"}
    assert [call for call, _ in run.calls[:3]] == ["open", "expect", "check"]


@pytest.mark.parametrize(("short", "result"), [(1, "bus fault"), (3, "timeout")])
def test_a_queue_that_does_not_hold_a_packet(short, result, tmp_path, seed):
    """The chip keeps two beats of a frame that has ended; with more to go it never ends."""
    made = write_case(CHIP, LONG_CASE, seed, tmp_path)
    patience = 2 * frame_cycles(made.plan).total
    inputs = [ChipInput(picture, patience=patience) for picture in made.pictures]
    run = run_frames(inputs, tmp_path, seed, queue=Queue(BEATS - short, blind=True), tolerant=True)
    assert [output.result for output in run.outputs] == [result] * 3


@pytest.mark.parametrize("share", [0, 0.4])
@pytest.mark.parametrize("board", BOARDS)
def test_what_a_frame_has_left_that_timed_out_is_not_the_next_ones_result(board, share, tmp_path, seed):
    """The host loses its patience in the image, in the layers, and at many places of the packet."""
    made = write_case(CHIP, LONG_CASE, seed, tmp_path)
    total = frame_cycles(made.plan).total
    inputs = []
    for patience in (1, total // 2, *range(total - 190, total - 20, 20)):
        inputs += [ChipInput(made.pictures[0], patience=patience), ChipInput(made.pictures[1])]
    pauses = Pauses(seed, share)
    run = run_frames(inputs, tmp_path, seed, queue=BOARDS[board], pauses=pauses, tolerant=True)
    assert {output.result for output in run.outputs[::2]} == {"timeout"}
    assert [output.data for output in run.outputs[1::2]] == [features(tmp_path)[1]] * (len(inputs) // 2)


@pytest.mark.parametrize("missing", [1, 3, 4, 200], ids=lambda missing: f"{missing} bytes")
def test_a_dma_with_too_little_memory(missing, tmp_path, seed):
    """It stops in the packet: with two beats or less to go the frame ends by itself, else never."""
    made = write_case(CHIP, LONG_CASE, seed, tmp_path)
    patience = 2 * frame_cycles(made.plan).total
    first = ChipInput(made.pictures[0], patience=patience, capacity=BYTES - missing)
    run = run_frames([first, ChipInput(made.pictures[1])], tmp_path, seed, tolerant=True)
    assert [output.result for output in run.outputs] == ["bus fault" if missing < 4 else "timeout", "ok"]
    assert run.outputs[1].data == features(tmp_path)[1]


def test_the_c_driver_gets_descriptors_of_several_crops(tmp_path, seed):
    made = write_case(CHIP, CASE, seed, tmp_path)
    maps = load_outputs(tmp_path)[-1]
    parts = (0b1101, 0b1110)  # first crop, last crop; of the only rotation
    for select in (1, 2, 3):
        inputs = [ChipInput(p, part) for p, part in zip(made.pictures[:2], parts, strict=True)]
        run = run_chip_frames(build_chip(CHIP), CHIP.engine, inputs, tmp_path, select=select, seed=seed)
        assert run.outputs[0].data == b""
        wanted = describe([list(maps[:2])], descriptor_constants(seed, [maps]), select - 1)
        assert run.outputs[1].data == wanted


def test_the_c_driver_tells_a_failed_self_check(tmp_path, seed):
    made = write_case(CHIP, CASE, seed, tmp_path)
    words = read_rom(tmp_path / "descriptor.mem", TABLE_WORD_BITS)
    words[-1] ^= 1
    write_rom(tmp_path / "descriptor.mem", TABLE_WORD_BITS, words)
    with pytest.raises(DriverError, match=r"check: failed \(descriptor_crc\)"):
        run_chip_frames(build_chip(CHIP), CHIP.engine, [ChipInput(made.pictures[0])], tmp_path, seed=seed)


def test_the_c_driver_tells_a_frame_that_is_too_short(tmp_path, seed):
    made = write_case(CHIP, CASE, seed, tmp_path)
    with pytest.raises(DriverError, match=r"frame: failed \(frame_short\)"):
        run_chip_frames(
            build_chip(CHIP), CHIP.engine, [ChipInput(made.pictures[0][:, :-1])], tmp_path, seed=seed
        )


def test_the_python_driver(tmp_path, seed):
    write_case(CHIP, LONG_CASE, seed, tmp_path)
    assert len(run_chip(CHIP, "kestrel.verif.chip.driver_bench", tmp_path, LONG_CASE, seed).ran) == 6
