"""Pictures read in worker processes."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.crops import CropSettings, Inputs
from kestrel.sw.retrieval.describe.reading import FEW_PICTURES, read_inputs, usual_workers


def test_workers_give_the_same_in_the_same_order(tmp_path):
    """More pictures than wait at a time; large ones among small ones, so that they do not end in order."""
    paths = []
    for n in range(15):
        paths.append(tmp_path / f"{n}.png")
        size = (400, 600) if n % 5 == 0 else (9, 12)
        Image.fromarray(generate_picture(*size, n)).save(paths[-1])
    paths.insert(7, tmp_path / "missing.png")
    settings = CropSettings("square:2", 20, 30)
    alone = list(read_inputs(paths, settings, 0))
    others = list(read_inputs(paths, settings, 2))
    assert len(alone) == len(others) == 16
    for mine, other in zip(alone, others, strict=True):
        if isinstance(mine, InputError):
            assert str(mine) == str(other)
            continue
        assert isinstance(other, Inputs)
        assert mine.weights == other.weights
        np.testing.assert_array_equal(np.stack(mine.pictures), np.stack(other.pictures))
    assert isinstance(alone[7], InputError)


class Fatal:
    """Ends the process that unpickles it, as running out of memory would."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_worker_that_dies_is_told_of():
    with pytest.raises(InputError, match="a process reading pictures died"):
        list(read_inputs([Fatal()], CropSettings(), 1))  # type: ignore[list-item]


def test_a_reader_may_be_left_early(tmp_path):
    Image.fromarray(generate_picture(9, 9, 1)).save(tmp_path / "a.png")
    found = read_inputs([tmp_path / "a.png"] * 50, CropSettings(height=9, width=9), 1)
    assert isinstance(next(found), Inputs)
    found.close()  # must not hang


def test_few_pictures_and_few_processors_need_no_process(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert usual_workers(FEW_PICTURES) == 0
    assert usual_workers(FEW_PICTURES + 1) == 2
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert usual_workers(FEW_PICTURES + 1) == 0


def test_reading_starts_quickly():
    """Workers import the module; torch, which takes seconds, must not come with it."""
    code = "import sys, kestrel.sw.retrieval.describe.reading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
