"""Pickles read for their data: of every protocol, and never run."""

import contextlib
import datetime
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.benchmark.plain_pickle import load_plain_pickle

SHARED = ["one", "list"]
TRUTH = {
    "imlist": ["all_souls_000013", "mus\u00e9e", "x" * 300], "qimlist": ["q"],
    "gnd": [{"bbx": [1.5, -2.0, 30, 1e300], "easy": [3, 255, 256, 70_000, -5, 1 << 40, -(1 << 70)],
             "hard": [], "junk": (1, 2, 3, 4), "pair": (1, 2), "three": (1, 2, 3), "none": (), "one": (1,)}],
    "flags": [True, False, None], "empty": {}, "shared": [SHARED, SHARED], "bytes": b"\x00\xff",
}  # fmt: skip


def as_lists(value):
    if isinstance(value, dict):
        return {key: as_lists(entry) for key, entry in value.items()}
    return [as_lists(entry) for entry in value] if isinstance(value, list | tuple) else value


def written(path, value, protocol):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_back_from_every_protocol(tmp_path, protocol):
    assert load_plain_pickle(written(tmp_path / "a.pkl", TRUTH, protocol)) == as_lists(TRUTH)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("make", [
    lambda rng: rng.integers(-9, 9, (3, 4)),
    lambda rng: rng.integers(0, 9, 5).astype(np.uint8),
    lambda rng: rng.normal(size=(2, 3)).astype(">f4"),
    lambda rng: np.asfortranarray(rng.normal(size=(4, 2))),
    lambda rng: np.zeros(0, np.int64),
    lambda rng: rng.normal(size=3) > 0,
])
def test_arrays_of_numbers_come_back_as_lists(tmp_path, protocol, make, rng):
    array = make(rng)
    found = load_plain_pickle(written(tmp_path / "a.pkl", {"easy": [array, array[:1].copy()]}, protocol))
    assert found == {"easy": [array.tolist(), array[:1].tolist()]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_of_numpy_come_back_as_numbers(tmp_path, protocol):
    value = [np.float64(1.25), np.int32(-7)]
    assert load_plain_pickle(written(tmp_path / "a.pkl", value, protocol)) == [1.25, -7]


class Trap:
    """Unpickled it would make a file."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return (self.proof.touch, ())


class Plain:
    pass


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_and_not_run(tmp_path, protocol):
    proof = tmp_path / "it_ran"
    path = written(tmp_path / "a.pkl", {"gnd": [Trap(proof)]}, protocol)
    with pytest.raises(InputError, match=r"a\.pkl: the pickle .*nothing of it was run; allowed: dictio"):
        load_plain_pickle(path)
    assert not proof.exists()
    pickle.loads(path.read_bytes())  # noqa: S301 - the test's own
    assert proof.exists(), "the trap is one"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [
    Plain(), datetime.date(2020, 1, 2), {1, 2}, np.array(["text"]), np.array([Plain()], object), print, Plain,
    np.zeros(2, np.complex128), np.zeros(2, "datetime64[s]"), range(3), 1j,
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_objects_are_refused(tmp_path, protocol, value):
    with pytest.raises(InputError, match="nothing of it was run"):
        load_plain_pickle(written(tmp_path / "a.pkl", [value], protocol))


NAMED = [
    b"cos\nsystem\n(S'true'\ntR.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    b"(ios\nsystem\n.",
    b"(cos\nsystem\nS'true'\no.",
    b"cnumpy.core.multiarray\n_reconstruct\n.",
    b"c_codecs\nencode\n(V\xc3\xa9\nVrot13\ntR.",
    b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
    b"\x80\x02\x82\x01.",
    b"P1\n.",
]
"""What NumPy needs, put to other uses, and the other ways to name a function."""


@pytest.mark.parametrize("content", NAMED)
def test_other_ways_to_a_function_are_refused(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(InputError, match="nothing of it was run"):
        load_plain_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("content", [
    b"", b".", b"no pickle", b"K\x01", b"K\x01K\x02.", b"e.", b"]K\x01a", b"g1\n.", b"}K\x01s.", b"K\x01e.",
    b"](K\x01u.", b"}(K\x01u.", b"(.", b"((\x85.",
    b"]" * 500 + b"a" * 499 + b".",
])  # fmt: skip
def test_what_is_no_whole_pickle_is_refused(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pkl: (not a whole pickle|the pickle is no data)"):
        load_plain_pickle(tmp_path / "a.pkl")


def test_a_list_that_holds_itself_is_refused(tmp_path):
    value = []
    value.append(value)
    with pytest.raises(InputError, match="nested more than 100 deep"):
        load_plain_pickle(written(tmp_path / "a.pkl", value, 2))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_damage_never_does_more_than_refuse(tmp_path, protocol, rng):
    whole = pickle.dumps(TRUTH, protocol)
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(256)
        (tmp_path / "a.pkl").write_bytes(bytes(content))
        with contextlib.suppress(InputError):
            load_plain_pickle(tmp_path / "a.pkl")


def test_all_opcodes_that_make_data_are_known():
    """Those refused make objects, sets, or reach outside the file."""
    from kestrel.sw.retrieval.benchmark import plain_pickle

    refused = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4",
               "EMPTY_SET", "ADDITEMS", "FROZENSET", "NEXT_BUFFER", "READONLY_BUFFER"}
    source = Path(plain_pickle.__file__).read_text(encoding="utf-8")
    unknown = {op.name for op in pickletools.opcodes if f'"{op.name}"' not in source}
    assert unknown == refused
