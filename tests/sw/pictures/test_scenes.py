import csv
import hashlib

import numpy as np
import pytest
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.picture_manifest import MANIFEST
from kestrel.sw.pictures.scenes import scene_views, write_scenes
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark


def test_a_folder_of_scenes_is_a_benchmark_of_groups(tmp_path):
    steps = []
    rows = write_scenes(tmp_path / "s", 3, 2, 7, 40, 56, steps.append)
    assert sum(steps) == 6
    assert rows == [(f"{g:03}{v:02}.png", f"{g:03}") for g in range(3) for v in range(2)]
    with (tmp_path / "s" / MANIFEST).open() as file:
        assert [(line["file"], line["group"]) for line in csv.DictReader(file)] == rows
    benchmark = load_benchmark("groups", tmp_path / "s")
    assert len(benchmark.queries) == 6
    assert [j.positives for j in benchmark.judgements["all"]] == [(1,), (0,), (3,), (2,), (5,), (4,)]
    with Image.open(tmp_path / "s" / rows[0][0]) as image:
        assert (image.size, image.mode) == ((56, 40), "RGB")


def test_a_seed_gives_the_same_views_and_another_seed_others():
    a, b, other = ([hashlib.sha256(view.tobytes()).hexdigest() for view in scene_views(32, 40, 3, seed)]
                   for seed in (1, 1, 2))
    assert a == b
    assert len({*a, *other}) == 6


def test_views_of_a_place_share_more_than_views_of_different_places():
    # Colours of small blocks, sorted: moves with the camera matter little, objects and their colours much.
    def signature(rgb):
        blocks = rgb[:48, :64].reshape(6, 8, 8, 8, 3).mean(axis=(1, 3)).reshape(-1, 3)
        centred = blocks - blocks.mean(axis=0)
        return np.sort(centred / centred.std(), axis=0).ravel()

    places = [[signature(v) for v in scene_views(48, 64, 4, seed)] for seed in range(8)]
    same = np.mean([np.linalg.norm(p[i] - p[j]) for p in places for i in range(4) for j in range(i)])
    others = np.mean([np.linalg.norm(p[i] - q[i]) for n, p in enumerate(places) for q in places[:n]
                      for i in range(4)])
    assert same < others


def test_a_view_is_no_copy_of_another():
    first, *rest = scene_views(48, 64, 4, 3)
    for view in rest:
        assert np.abs(view.astype(int) - first).mean() > 8


@pytest.mark.parametrize(("arguments", "message"), [
    ((0, 2, 1, 40, 40), "groups 0; allowed: 1..999"), ((1, 100, 1, 40, 40), "views 100; allowed: 1..99"),
    ((1, 2, -1, 40, 40), "seed -1; allowed: 0.."), ((1, 2, 1, 15, 40), "height 15; allowed: 16..4096"),
    ((1, 2, 1, 40, 5000), "width 5000"),
])
def test_refusals_write_nothing(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        groups, views, seed, height, width = arguments
        write_scenes(tmp_path / "s", groups, views, seed, height, width, lambda steps: None)
    assert not list(tmp_path.iterdir())
