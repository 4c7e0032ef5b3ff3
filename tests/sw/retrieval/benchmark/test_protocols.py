"""The published sets in miniature: laid out as their authors do, judged as their scripts do."""

import json
import pickle

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.retrieval.benchmark.datasets import ALL, Judgement
from kestrel.sw.retrieval.benchmark.protocols import PROTOCOLS, load_benchmark


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def judged(benchmark, split=ALL):
    """query -> (positives, ignored), by name."""
    def names(rows):
        return {benchmark.images[row] for row in rows}

    return {query.name: (names(j.positives), names(j.ignored))
            for query, j in zip(benchmark.queries, benchmark.judgements[split], strict=True)}


def test_holidays_asks_with_x00_for_the_others_and_leaves_itself_out(tmp_path):
    touch(tmp_path, "jpg1/100000.jpg", "jpg1/100001.jpg", "jpg1/100002.jpg", "jpg2/149901.jpg",
          "jpg2/149900.jpg", "jpg2/149800.jpg")
    found = load_benchmark("holidays", tmp_path)
    assert len(found.images) == 6
    assert judged(found) == {
        "jpg1/100000.jpg": ({"jpg1/100001.jpg", "jpg1/100002.jpg"}, {"jpg1/100000.jpg"}),
        "jpg2/149900.jpg": ({"jpg2/149901.jpg"}, {"jpg2/149900.jpg"}),
    }
    assert found.pictures == found.images
    assert not found.boxed


def test_ukbench_asks_with_every_image_for_its_four(tmp_path):
    touch(tmp_path, *(f"full/ukbench{n:05}.jpg" for n in range(8)))
    found = load_benchmark("ukbench", tmp_path)
    assert len(found.queries) == 8
    assert judged(found)["full/ukbench00006.jpg"] == ({f"full/ukbench{n:05}.jpg" for n in range(4, 8)}, set())
    (tmp_path / "full/ukbench00007.jpg").unlink()
    with pytest.warns(InputWarning, match=r"ask for nothing: 3 images numbered 00004\.\.00007"):
        found = load_benchmark("ukbench", tmp_path)
    assert len(found.images) == 7
    assert len(found.queries) == 4
    with pytest.raises(InputError, match=r"3 images numbered 00004\.\.00007; allowed with --strict"):
        load_benchmark("ukbench", tmp_path, strict=True)


def test_groups_by_name(tmp_path):
    touch(tmp_path, "00000.jpg", "00001.png", "00100.jpg", "00101.jpg", "00102.jpg", "00200.jpg")
    found = load_benchmark("groups", tmp_path)
    assert judged(found)["00101.jpg"] == ({"00100.jpg", "00102.jpg"}, {"00101.jpg"})
    assert "00200.jpg" in found.images
    assert "00200.jpg" not in judged(found)  # alone in its group: it only distracts
    touch(tmp_path, "more/00103.jpg", "lake.jpg")
    with pytest.warns(InputWarning, match=r"none of this set are left out: lake\.jpg"):
        found = load_benchmark("groups", tmp_path)
    assert judged(found)["more/00103.jpg"] == ({"00100.jpg", "00101.jpg", "00102.jpg"}, {"more/00103.jpg"})
    assert "lake.jpg" not in found.images
    with pytest.raises(InputError, match=r"lake\.jpg; allowed with --strict"):
        load_benchmark("groups", tmp_path, strict=True)


def test_groups_by_manifest(tmp_path):
    touch(tmp_path, "a/x.jpg", "b/y.jpg", "z.jpg", "unlisted.jpg", "w.jpg")
    lines = ["file,note,group", "a/x.jpg,,tower", "b/y.jpg,1,tower", "z.jpg,,", "w.jpg,,"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    found = load_benchmark("groups", tmp_path)
    assert found.images == ("a/x.jpg", "b/y.jpg", "w.jpg", "z.jpg")
    # No group is no group in common.
    assert judged(found) == {"a/x.jpg": ({"b/y.jpg"}, {"a/x.jpg"}), "b/y.jpg": ({"a/x.jpg"}, {"b/y.jpg"})}


@pytest.mark.parametrize(("text", "message"), [
    ("name,group\nx.jpg,1\n", "columns 'name, group'; allowed: file and group"),
    ("file,group\nx.jpg,1\nq.jpg,1\n", r"line 3: file 'q\.jpg' is not there"),
    ("file,group\n../x.jpg,1\n", "lies outside the folder"),
    ("file,group\nx.jpg,1\nx.jpg,2\n", "comes twice"),
    ("file,group\nx.jpg,1\n", "no query has an image to be found"),
    (b"file,group\n\xff\xfe,1\n", "not a CSV file in UTF-8"),
    ("", "allowed: file and group"),
])
def test_a_broken_manifest_is_refused(tmp_path, text, message):
    touch(tmp_path, "x.jpg")
    (tmp_path / "manifest.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        load_benchmark("groups", tmp_path)


@pytest.fixture
def oxford(tmp_path):
    touch(tmp_path, *(f"oxbuild_images/{name}.jpg" for name in (
        "all_souls_000013", "all_souls_000026", "all_souls_000051", "radcliffe_000001", "radcliffe_000002")))
    truth = tmp_path / "gt_files_170407"
    truth.mkdir()
    (truth / "all_souls_1_query.txt").write_text("oxc1_all_souls_000013 136.5 34.1 648.5 955.7\n")
    (truth / "all_souls_1_good.txt").write_text("all_souls_000013\nall_souls_000026\n")
    (truth / "all_souls_1_ok.txt").write_text("")
    (truth / "all_souls_1_junk.txt").write_text("all_souls_000051\n")
    (truth / "radcliffe_3_query.txt").write_text("oxc1_radcliffe_000001 0 0 10 10")
    (truth / "radcliffe_3_good.txt").write_text("")
    (truth / "radcliffe_3_ok.txt").write_text("radcliffe_000002\n")
    (truth / "radcliffe_3_junk.txt").write_text("")
    return tmp_path


def test_oxford_reads_the_published_files(oxford):
    found = load_benchmark("oxford5k", oxford)
    here = "oxbuild_images/"
    assert judged(found) == {
        # The image that the query is cut from is good and stays in the list.
        "all_souls_1": ({f"{here}all_souls_000013.jpg", f"{here}all_souls_000026.jpg"},
                        {f"{here}all_souls_000051.jpg"}),
        "radcliffe_3": ({f"{here}radcliffe_000002.jpg"}, set()),
    }
    query = found.queries[0]
    assert (query.image, query.box) == (f"{here}all_souls_000013.jpg", (136.5, 34.1, 648.5, 955.7))
    assert query.key == "query:all_souls_1"
    assert found.boxed == found.queries


def test_paris_has_folders_and_no_prefix(tmp_path):
    touch(tmp_path, "paris/defense/paris_defense_000605.jpg", "paris/eiffel/paris_eiffel_000001.jpg")
    (tmp_path / "defense_1_query.txt").write_text("paris_defense_000605 1 2 300 400")
    (tmp_path / "defense_1_good.txt").write_text("paris_defense_000605")
    (tmp_path / "defense_1_ok.txt").write_text("")
    (tmp_path / "defense_1_junk.txt").write_text("paris_eiffel_000001")
    found = load_benchmark("paris6k", tmp_path)
    assert judged(found) == {"defense_1": ({"paris/defense/paris_defense_000605.jpg"},
                                           {"paris/eiffel/paris_eiffel_000001.jpg"})}


@pytest.mark.parametrize(("name", "text", "message"), [
    ("all_souls_1_query.txt", "oxc1_all_souls_000013 1 2 3", "left, top, right, bottom"),
    ("all_souls_1_query.txt", "oxc1_all_souls_000013 10 2 3 40", "left, top, right, bottom"),
    ("all_souls_1_query.txt", "", "left, top, right, bottom"),
    ("all_souls_1_ok.txt", None, "no such ground-truth file"),
    ("all_souls_1_ok.txt", b"\xff", "not text"),
])
def test_broken_oxford_files_are_refused(oxford, name, text, message):
    path = oxford / "gt_files_170407" / name
    path.unlink() if text is None else path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        load_benchmark("oxford5k", oxford)


@pytest.mark.parametrize(("name", "text", "message", "wanted"), [
    ("all_souls_1_query.txt", "oxc1_nowhere 1 2 3 4", "image is not there and is left out: nowhere", None),
    ("all_souls_1_good.txt", "all_souls_000013 all_souls_000099",
     "not there and are left out: all_souls_000099", ({"013"}, {"051"})),
    ("all_souls_1_junk.txt", "all_souls_000026 all_souls_000051",
     r"also good or ok is to be found: oxbuild_images/all_souls_000026\.jpg", ({"013", "026"}, {"051"})),
])
def test_single_faults_of_oxford_are_told_of(oxford, name, text, message, wanted):
    """An image that Paris lacks must not end a run over 6,000 others."""
    (oxford / "gt_files_170407" / name).write_text(text)
    with pytest.warns(InputWarning, match=message):
        found = judged(load_benchmark("oxford5k", oxford))
    if wanted is None:
        assert set(found) == {"radcliffe_3"}
    else:
        assert tuple({image[-7:-4] for image in names} for names in found["all_souls_1"]) == wanted
    with pytest.raises(InputError, match=rf"{message}; allowed with --strict"):
        load_benchmark("oxford5k", oxford, strict=True)


@pytest.fixture
def truth():
    return {
        "imlist": ["d0", "d1", "d2", "d3", "d4"],
        "qimlist": ["q0", "q1"],
        "gnd": [{"bbx": [1.5, 2, 30, 40.5], "easy": [3], "hard": [1], "junk": [0]},
                {"bbx": [0, 0, 5, 5], "easy": [], "hard": [2, 4], "junk": []}],
    }  # fmt: skip


def write_revisited(folder, truth):
    touch(folder, *(f"jpg/{name}.jpg" for name in ("d0", "d1", "d2", "d3", "d4", "q0", "q1")))
    (folder / "gnd_roxford5k.json").write_text(json.dumps(truth))
    return folder


def test_revisited_splits(tmp_path, truth):
    found = load_benchmark("roxford5k", write_revisited(tmp_path, truth))
    assert found.images == tuple(f"jpg/d{n}.jpg" for n in range(5))  # queries are no part of the database
    assert found.headline == "medium"
    assert [query.box for query in found.queries] == [(1.5, 2.0, 30.0, 40.5), (0.0, 0.0, 5.0, 5.0)]
    assert found.judgements == {
        "easy": (Judgement((3,), (0, 1)), Judgement((), (2, 4))),
        "medium": (Judgement((3, 1), (0,)), Judgement((2, 4))),
        "hard": (Judgement((1,), (0, 3)), Judgement((2, 4))),
    }


def test_revisited_queries_without_a_box_are_whole_images(tmp_path, truth):
    del truth["gnd"][1]["bbx"]
    found = load_benchmark("roxford5k", write_revisited(tmp_path, truth))
    assert [query.name for query in found.boxed] == ["0:q0"]
    assert found.pictures == (*found.images, "jpg/q1.jpg")


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.pop("imlist"), "imlist is missing"),
    (lambda t: t["qimlist"].append("q2"), "3 names in qimlist, 2 entries in gnd"),
    (lambda t: t["gnd"][0]["easy"].append(5), r"gnd\[0\]: easy is no list of indices; allowed: 0\.\.4"),
    (lambda t: t["gnd"][0]["easy"].append(True), r"gnd\[0\]: easy is no list of indices"),
    (lambda t: t["gnd"][1].update(bbx=[3, 3, 2, 4]), r"gnd\[1\]: bbx is \[3, 3, 2, 4\]"),
])
def test_broken_revisited_truth_is_refused(tmp_path, truth, change, message):
    change(truth)
    with pytest.raises(InputError, match=message):
        load_benchmark("roxford5k", write_revisited(tmp_path, truth))


def test_single_faults_of_revisited_truth_are_told_of(tmp_path, truth):
    truth["imlist"].append("d9")
    truth["gnd"][0]["easy"] += [1, 5]
    with pytest.warns(InputWarning) as told:
        found = load_benchmark("roxford5k", write_revisited(tmp_path, truth))
    assert [getattr(warning.message, "what", None) for warning in told] == [
        "names images that are not there and are left out: d9",
        "what is in two of easy, hard and junk counts in the first",
    ]
    assert found.images == tuple(f"jpg/d{n}.jpg" for n in range(5))
    assert found.judgements["easy"][0] == Judgement((3, 1), (0,))
    with pytest.raises(InputError, match="left out: d9; allowed with --strict"):
        load_benchmark("roxford5k", tmp_path, strict=True)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_published_pickle_gives_what_the_json_gives(tmp_path, truth, protocol):
    as_json = load_benchmark("roxford5k", write_revisited(tmp_path, truth))
    (tmp_path / "gnd_roxford5k.json").unlink()
    arrays = {**truth, "gnd": [{**entry, "easy": np.array(entry["easy"], int)} for entry in truth["gnd"]]}
    (tmp_path / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(arrays, protocol))
    assert load_benchmark("roxford5k", tmp_path) == as_json


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, truth):
    touch(tmp_path, "jpg/d0.jpg")
    proof = tmp_path / "it_ran"

    class Trap:
        def __reduce__(self):
            return (proof.touch, ())

    (tmp_path / "gnd_rparis6k.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"gnd_rparis6k\.pkl: the pickle .*nothing of it was run"):
        load_benchmark("rparis6k", tmp_path)
    assert not proof.exists()
    (tmp_path / "gnd_rparis6k.pkl").unlink()
    with pytest.raises(InputError, match=r"no gnd_rparis6k\.json"):
        load_benchmark("rparis6k", tmp_path)
    (tmp_path / "gnd_rparis6k.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        load_benchmark("rparis6k", tmp_path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_folders_that_are_none_are_refused(tmp_path, protocol):
    with pytest.raises(InputError, match="no such folder"):
        load_benchmark(protocol, tmp_path / "none")
    with pytest.raises(InputError, match="no images"):
        load_benchmark(protocol, tmp_path)
    touch(tmp_path, "file.txt")
    with pytest.raises(InputError, match="is not a folder"):
        load_benchmark(protocol, tmp_path / "file.txt")


def test_an_unknown_protocol_is_refused(tmp_path):
    with pytest.raises(InputError, match="protocol 'inria' is not known; allowed: holidays, oxford5k"):
        load_benchmark("inria", tmp_path)


def test_two_pictures_of_one_name_are_refused_where_names_are_looked_up(oxford):
    touch(oxford, "more/all_souls_000013.png")
    with pytest.raises(InputError, match="have the same name"):
        load_benchmark("oxford5k", oxford)


def test_unreadable_pictures_leave_the_benchmark(tmp_path, truth):
    whole = load_benchmark("roxford5k", write_revisited(tmp_path, truth))
    found = whole.without({"jpg/d1.jpg", "query:1:q1"})
    assert found.images == ("jpg/d0.jpg", "jpg/d2.jpg", "jpg/d3.jpg", "jpg/d4.jpg")
    assert [query.name for query in found.queries] == ["0:q0"]
    assert found.judgements["medium"] == (Judgement((2,), (0,)),)
    assert found.judgements["hard"] == (Judgement((), (0, 2)),)
    with pytest.raises(InputError, match="no query has an image to be found"):
        found.without({"jpg/d3.jpg"})


def test_hidden_folders_are_no_part_of_a_set(tmp_path):
    touch(tmp_path, "jpg/100000.jpg", "jpg/100001.jpg", ".thumbnails/100000.jpg")
    assert load_benchmark("holidays", tmp_path).images == ("jpg/100000.jpg", "jpg/100001.jpg")


def test_names_that_are_no_numbers_are_refused(tmp_path):
    touch(tmp_path, "cover.jpg")
    with pytest.raises(InputError, match=r"no name is one of this set \(cover\.jpg\); allowed: six digits"):
        load_benchmark("holidays", tmp_path)
    touch(tmp_path, "100000.jpg", "100001.jpg")
    with pytest.warns(InputWarning, match=r"none of this set are left out: cover\.jpg"):
        assert load_benchmark("holidays", tmp_path).images == ("100000.jpg", "100001.jpg")
