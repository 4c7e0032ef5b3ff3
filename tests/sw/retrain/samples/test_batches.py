"""Batches are the same whichever process reads them, shared among processes, and survive bad files."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrain.samples.augment import Augmentation
from kestrel.sw.retrain.samples.batches import DataSettings, TrainingData, in_order, shuffled
from kestrel.sw.retrain.samples.folder import GeneratedPictures, TrainingSet, load_training_set

COUNT = 12


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three classes of four pictures; a picture's red channel holds its number."""
    for n in range(COUNT):
        path = tmp_path / f"c{n // 4}" / f"{n:02}.png"
        path.parent.mkdir(exist_ok=True)
        picture = np.random.default_rng(n).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        picture[:, :, 0] = n
        Image.fromarray(picture).save(path)
    return tmp_path


SETTINGS = DataSettings(height=8, width=8, batch_size=4, seed=3)
AUGMENTED = replace(SETTINGS, augmentation=Augmentation())


def run(data, settings, epochs=(0,), order=None, start=0):
    with TrainingData(data, settings, order) as source:
        return [batch for epoch in epochs for batch in source.epoch(epoch, start)]


def equal(a, b):
    return len(a) == len(b) and all(
        torch.equal(x.pictures, y.pictures) and torch.equal(x.labels, y.labels)
        and torch.equal(x.groups, y.groups) for x, y in zip(a, b, strict=True))


def numbers(batches):
    """The pictures' numbers, where nothing was augmented."""
    return [int(picture[0, 0, 0]) for batch in batches for picture in batch.pictures]


def test_a_batch_is_what_it_says(folder):
    batches = run(load_training_set(folder), SETTINGS)
    assert len(batches) == 3
    for batch in batches:
        assert (batch.pictures.shape, batch.pictures.dtype) == ((4, 8, 8, 3), torch.uint8)
        assert (batch.labels.dtype, batch.groups.dtype) == (torch.int64, torch.int64)
        assert batch.labels.tolist() == [n // 4 for n in numbers([batch])] == batch.groups.tolist()
    assert sorted(numbers(batches)) == list(range(COUNT))


def test_epochs_differ_and_repeat(folder):
    data = load_training_set(folder)
    first, again, other = (run(data, AUGMENTED, [e]) for e in (0, 0, 1))
    assert equal(first, again)
    assert not equal(first, other)
    assert numbers(run(data, SETTINGS, [0])) != numbers(run(data, SETTINGS, [1]))
    assert not equal(first, run(data, replace(AUGMENTED, seed=4)))


def test_going_on_in_the_middle_of_an_epoch(folder):
    data = load_training_set(folder)
    assert equal(run(data, AUGMENTED, [2])[1:], run(data, AUGMENTED, [2], start=1))


def test_worker_processes_change_nothing(folder):
    """Also when an epoch is left early, as by a run that stops."""
    data = load_training_set(folder)
    with TrainingData(data, replace(AUGMENTED, workers=2)) as source:
        assert equal([next(source.epoch(0))], run(data, AUGMENTED)[:1])
        found = [batch for epoch in (0, 1) for batch in source.epoch(epoch)]
    assert equal(found, run(data, AUGMENTED, [0, 1]))


def test_reading_draws_nothing_from_the_trainers_generator(folder):
    state = torch.get_rng_state()
    run(load_training_set(folder), AUGMENTED)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_are_one_process(folder, world):
    data = load_training_set(folder)
    whole = run(data, AUGMENTED)
    parts = [run(data, replace(AUGMENTED, rank=rank, world_size=world)) for rank in range(world)]
    for n, batch in enumerate(whole):
        assert torch.equal(torch.cat([part[n].pictures for part in parts]), batch.pictures)
        assert torch.equal(torch.cat([part[n].labels for part in parts]), batch.labels)


def test_orders():
    batches = shuffled(10, 4, seed=1)(0)
    assert [len(b) for b in batches] == [4, 4]
    assert len(set(batches[0]) | set(batches[1])) == 8
    assert in_order(10, 4)(7) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_set_smaller_than_a_batch_repeats_differently(folder):
    data = load_training_set(folder).select([0, 1])
    (batch,) = run(data, AUGMENTED)
    assert len({picture.numpy().tobytes() for picture in batch.pictures}) == 4


def test_in_order_every_picture_once_whatever_the_ranks(folder):
    data = load_training_set(folder).select(range(10))
    order = in_order(10, 4)
    parts = [run(data, replace(SETTINGS, rank=rank, world_size=4), order=order) for rank in range(4)]
    assert sorted(numbers(chain(*parts))) == list(range(10))


def test_unreadable_files_are_replaced_counted_and_named(folder):
    (folder / "c1" / "05.png").write_bytes(b"no picture")
    (folder / "c2" / "11.png").unlink()
    data = load_training_set(folder)
    (folder / "c0" / "03.png").unlink()  # known, and gone since
    for workers in (0, 1):
        settings = replace(SETTINGS, batch_size=len(data), unreadable_share=0.2, workers=workers)
        with TrainingData(data, settings) as source:
            batches = list(source.epoch(0))
            assert sorted(source.unreadable) == ["c0/03.png", "c1/05.png"]
            assert all("\n" not in reason for reason in source.unreadable.values())
        (batch,) = batches
        assert batch.labels.tolist() == [n // 4 for n in numbers([batch])]  # each with its own label


def test_the_next_readable_picture_takes_the_place(folder):
    (folder / "c1" / "05.png").write_bytes(b"no picture")
    settings = replace(SETTINGS, unreadable_share=0.2)
    found = run(load_training_set(folder), settings, order=in_order(COUNT, 4))
    assert numbers(found) == [0, 1, 2, 3, 4, 6, 6, 7, 8, 9, 10, 11]


def test_too_many_unreadable_files(folder):
    for name in ("c1/05.png", "c2/10.png"):
        (folder / name).write_bytes(b"no picture")
    data = load_training_set(folder)
    with pytest.raises(InputError) as caught:
        run(data, replace(SETTINGS, unreadable_share=0.1), order=in_order(COUNT, 4))
    assert "2 of 12 pictures are unreadable, the first: " in str(caught.value)
    assert "05.png: not a readable image" in str(caught.value)
    assert "allowed: a share of 0.1" in str(caught.value)


def test_nothing_readable_at_all(folder):
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="12 of 12 pictures are unreadable"):
        run(load_training_set(folder), replace(SETTINGS, unreadable_share=1.0))


def test_generated_pictures_need_no_folder():
    data = TrainingSet(GeneratedPictures(4, 16, 16, 0), (-1,) * 4, (-1,) * 4)
    (batch,) = run(data, SETTINGS)
    assert batch.labels.tolist() == [-1] * 4


@pytest.mark.parametrize(("options", "message"), [
    ({"height": 0}, "picture size 0 x 8"),
    ({"batch_size": 0}, "batch size 0"),
    ({"batch_size": 3, "world_size": 2}, "batch size 3; allowed: multiples of 2"),
    ({"rank": 2, "world_size": 2}, "rank 2 of 2 processes"),
    ({"workers": -1}, "workers -1; allowed: 0..64"),
    ({"seed": -1}, "seed -1"),
    ({"unreadable_share": 1.5}, "share of unreadable pictures 1.5"),
])
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        replace(SETTINGS, **options)
    assert message in str(caught.value)
