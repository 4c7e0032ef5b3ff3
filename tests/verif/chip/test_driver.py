"""Both drivers against the simulated chip: the C one linked to the model, the Python one in cocotb."""

import numpy as np
import pytest

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.sw.retrieval.pooling.integer_nip import describe
from kestrel.verif.build.rtl import build_chip
from kestrel.verif.cases.engine_case import descriptor_constants
from kestrel.verif.cases.rom_image import read_rom, write_rom
from kestrel.verif.chip.case import run_chip, write_case
from kestrel.verif.simulate.chip_frame import ChipInput, DriverError, run_chip_frames
from kestrel.verif.simulate.frame import Pauses

SMALL = NAMED["nano"].with_options(
    partial_depth=64, max_width=40, feature_words=(1000, 1000), weight_words=2048, table_words=512
)
CHIP = ChipConfig(SMALL, DescriptorConfig(8, 256))
CASE = "tiny"


def features(workdir):
    return [values.transpose(1, 2, 0).tobytes() for values in np.load(workdir / "expected.npy")]


@pytest.mark.parametrize("share", [0, 0.4])
def test_the_c_driver_gets_features(share, tmp_path, seed):
    made = write_case(CHIP, CASE, seed, tmp_path)
    run = run_chip_frames(
        build_chip(CHIP), CHIP.engine, [ChipInput(p) for p in made.pictures], tmp_path,
        pauses=Pauses(seed, share), seed=seed,
    )  # fmt: skip
    assert [output.data for output in run.outputs] == features(tmp_path)
    assert run.frames == len(made.pictures)
    assert {result for _, result in run.calls} == {"ok"}
    assert [call for call, _ in run.calls[:3]] == ["open", "expect", "check"]


def test_the_c_driver_gets_descriptors_of_several_crops(tmp_path, seed):
    made = write_case(CHIP, CASE, seed, tmp_path)
    maps = np.load(tmp_path / "expected.npy")
    parts = (0b1101, 0b1110)  # first crop, last crop; of the only rotation
    for select in (1, 2, 3):
        inputs = [ChipInput(p, part) for p, part in zip(made.pictures[:2], parts, strict=True)]
        run = run_chip_frames(build_chip(CHIP), CHIP.engine, inputs, tmp_path, select=select, seed=seed)
        assert run.outputs[0].data == b""
        wanted = describe([list(maps[:2])], descriptor_constants(seed, maps), select - 1)
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
    write_case(CHIP, CASE, seed, tmp_path)
    run_chip(CHIP, "kestrel.verif.chip.driver_bench", tmp_path, CASE, seed)
