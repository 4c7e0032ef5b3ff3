"""Vectors of other programs: told apart, brought to unit length, marked."""

import json

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.retrieval.describe.descriptor import (
    FOREIGN,
    Descriptors,
    DescriptorSettings,
    check_comparable,
    load_descriptors,
    recorded,
    save_descriptors,
)

NAMES = ["a/x.jpg", "b/x.jpg", "\u00fc.jpg"]
OURS = DescriptorSettings("ab" * 32, "integer", 64, 64, "none", "whole", "x", 1, "")


def unit(rng, count=3, dimension=5):
    x = rng.normal(size=(count, dimension))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("arrays", [
    lambda x: {"vectors": x.astype(np.float32), "names": np.array(NAMES)},
    lambda x: {"features": x, "paths": np.array([name.encode() for name in NAMES]), "labels": np.arange(3)},
    lambda x: {"arr_0": x.astype(np.float32), "arr_1": np.array(NAMES)},
])
def test_an_npz_of_vectors_and_names(rng, tmp_path, arrays):
    x = unit(rng)
    np.savez(tmp_path / "d.npz", **arrays(x))
    found = load_descriptors(tmp_path / "d.npz")
    assert found.names == tuple(NAMES)
    np.testing.assert_allclose(found.vectors, x, atol=2e-3)
    assert found.settings == FOREIGN
    assert found.settings.foreign
    with pytest.raises(InputError, match="foreign"):
        check_comparable(found.settings, OURS, "theirs", "ours")
    save_descriptors(found, tmp_path / "again.npz")
    assert load_descriptors(tmp_path / "again.npz").settings.foreign


def test_an_npy_has_its_names_beside_it(rng, tmp_path):
    np.save(tmp_path / "d.npy", unit(rng))
    (tmp_path / "d.txt").write_text("\n".join(NAMES), encoding="utf-8")
    assert load_descriptors(tmp_path / "d.npy").names == tuple(NAMES)


def test_other_lengths_are_brought_to_one_and_told_of(rng, tmp_path):
    x = rng.integers(-9, 9, (3, 4))
    x[1] = 0
    np.savez(tmp_path / "d.npz", vectors=x, names=NAMES)
    with pytest.warns(InputWarning, match=r"d\.npz: vectors of another program, brought to unit length"):
        found = load_descriptors(tmp_path / "d.npz")
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), [1, 0, 1], rtol=1e-6)


@pytest.mark.parametrize(("arrays", "message"), [
    ({"a": np.ones((3, 4)), "b": np.ones((3, 4)), "names": NAMES}, r"\(a, b, names\) do not tell the vec"),
    ({"a": np.ones((3, 4))}, r"\(a\) do not tell the names: call them names or files"),
    ({"vectors": np.ones((3, 4)), "names": NAMES[:2]}, "2 names for 3 vectors"),
    ({"vectors": np.full((3, 4), np.inf), "names": NAMES}, "not finite"),
    ({"vectors": np.ones((3, 4), complex), "names": NAMES}, "complex128"),
    ({"vectors": np.ones((3, 0)), "names": NAMES}, r"\[3, 0\], not numbers"),
    ({"vectors": np.ones((3, 4)), "names": np.array(NAMES, object)}, "not a readable descriptor file"),
])
def test_what_does_not_tell_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load_descriptors(tmp_path / "d.npz")
    assert "d.npz" in str(caught.value)


def test_settings_copied_to_vectors_of_another_length_are_refused(rng, tmp_path):
    save_descriptors(Descriptors(OURS, tuple(NAMES), unit(rng).astype(np.float32)), tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as file:
        settings = file["settings"]
    assert json.loads(str(settings)) == {**recorded(OURS), "dimension": 5}
    np.savez(tmp_path / "d.npz", vectors=unit(rng, 3, 7).astype(np.float32), names=NAMES, settings=settings)
    with pytest.raises(InputError, match=r"d\.npz: settings of vectors of 5 dimensions, not of 7"):
        load_descriptors(tmp_path / "d.npz")


def test_the_folder_is_found_from_the_file_or_as_it_was(rng, tmp_path):
    photos = tmp_path / "here" / "photos"
    photos.mkdir(parents=True)
    ours = Descriptors(OURS, tuple(NAMES), unit(rng).astype(np.float32), folder=photos)
    save_descriptors(ours, tmp_path / "here" / "d.npz")
    assert load_descriptors(tmp_path / "here" / "d.npz").folder == photos
    (tmp_path / "here").rename(tmp_path / "there")
    assert load_descriptors(tmp_path / "there" / "d.npz").folder == tmp_path / "there" / "photos"
