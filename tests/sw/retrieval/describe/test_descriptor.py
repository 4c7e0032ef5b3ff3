"""The descriptor file."""

import json
import pickle
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.descriptor import (
    Codes,
    Descriptors,
    DescriptorSettings,
    check_comparable,
    load_descriptors,
    save_descriptors,
)
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser, to_bits, to_bytes

SETTINGS = DescriptorSettings("n", "integer", 224, 200, "caffe", "whole", "sqrt", 1, "w", "keep, box")


def descriptors(rng, kind=None):
    vectors = rng.normal(size=(3, 11)).astype(np.float32)
    q = fit_quantiser(vectors, source="train")
    made = {"bytes": to_bytes, "bits": to_bits}
    codes = None if kind is None else Codes(kind, made[kind](vectors, q), q)
    return Descriptors(SETTINGS, ("a.jpg", "folder/ü b.png", "c"), vectors, codes)


@pytest.mark.parametrize("kind", [None, "bytes", "bits"])
def test_file_comes_back(tmp_path, rng, kind):
    made = descriptors(rng, kind)
    save_descriptors(made, tmp_path / "d.npz")
    found = load_descriptors(tmp_path / "d.npz")
    assert (found.settings, found.names) == (made.settings, made.names)
    np.testing.assert_array_equal(found.vectors, made.vectors)
    if kind is None:
        assert found.codes is None
        return
    assert found.codes is not None
    assert made.codes is not None
    assert found.codes.kind == kind
    np.testing.assert_array_equal(found.codes.values, made.codes.values)
    mine, other = found.codes.quantiser, made.codes.quantiser
    assert (mine.low, mine.high, mine.source) == (other.low, other.high, "train")
    np.testing.assert_array_equal(mine.thresholds, other.thresholds)


@pytest.mark.parametrize("field", [field.name for field in fields(DescriptorSettings)])
def test_every_setting_decides_what_may_be_compared(field):
    other = getattr(SETTINGS, field)
    other = other + 1 if isinstance(other, int) else other + "x"
    check_comparable(SETTINGS, replace(SETTINGS), "a", "b")
    with pytest.raises(InputError, match=f"a and b cannot be compared: {field} is"):
        check_comparable(SETTINGS, replace(SETTINGS, **{field: other}), "a", "b")


def arrays(**changes):
    good = {"vectors": np.zeros((2, 3), np.float32), "names": np.array(["a", "b"]),
            "settings": np.array(json.dumps(asdict(SETTINGS)))}
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


CODED = {"codes": np.zeros((2, 3), np.uint8), "thresholds": np.zeros(3, np.float32),
         "quantiser": np.array('{"kind": "bytes", "low": 0, "high": 1, "source": ""}')}
BAD = {
    "no vectors": arrays(vectors=None),
    "float64": arrays(vectors=np.zeros((2, 3))),
    "one dimension": arrays(vectors=np.zeros(2, np.float32)),
    "not finite": arrays(vectors=np.full((2, 3), np.nan, np.float32)),
    "names": arrays(names=np.array(["a"])),
    "pickled names": arrays(names=np.array(["a", "b"], dtype=object)),
    "settings missing": arrays(settings=np.array("{}")),
    "settings no json": arrays(settings=np.array("{")),
    "settings list": arrays(settings=np.array("[]")),
    "setting of another type": arrays(settings=np.array(json.dumps({**asdict(SETTINGS), "height": "224"}))),
    "codes short": arrays(**CODED | {"codes": np.zeros((2, 2), np.uint8)}),
    "codes of another kind": arrays(**CODED | {"quantiser": np.array('{"kind": "nibbles"}')}),
    "no thresholds": arrays(**CODED | {"thresholds": None}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    np.savez(tmp_path / "d.npz", allow_pickle=True, **BAD[name])
    with pytest.raises(InputError, match=r"d\.npz: .*; allowed: a ") as caught:
        load_descriptors(tmp_path / "d.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", pickle.dumps([1]), b"text"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"d\.npz: not a readable descriptor file"):
        load_descriptors(tmp_path / "d.npz")


def test_a_single_array_and_a_missing_file_are_refused(tmp_path):
    np.save(tmp_path / "d.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"d\.npy: no names: .*d\.txt is missing"):
        load_descriptors(tmp_path / "d.npy")
    with pytest.raises(InputError, match="no such file"):
        load_descriptors(tmp_path / "x.npz")
