"""``--pool-maps`` from whitening to search, with a residual network."""

import json

import pytest

from kestrel.cli.main import run
from kestrel.export.export import import_descriptor

MAPS = ["--pool-maps", "layer1.0,layer2.0"]
SIZE = ["--size", "32"]


def call(arguments, capsys):
    """Exit code, the JSON object or None, and the error's one line."""
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 else None, " ".join(err.split())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network, scenes, and a whitening and descriptors of two maps."""
    folder = tmp_path_factory.mktemp("maps")
    network, scenes = folder / "n.safetensors", folder / "scenes"
    for command in (
        ["compress", "random:1", "-o", network, "--network", "resnet18/16:layer2.1", *SIZE],
        ["scenes", "-o", scenes, "--groups", "3", "--views", "2", "--size", "48x40"],
        ["whiten", network, scenes, "-o", folder / "w.safetensors", *SIZE, *MAPS, "--dimension", "3"],
        ["describe", network, scenes, "-o", folder / "d.npz", *SIZE, *MAPS, "--whitening",
         folder / "w.safetensors", "--codes", "bits", "--train", scenes],
        ["describe", network, scenes, "-o", folder / "raw.npz", *SIZE, *MAPS],
        ["describe", network, scenes, "-o", folder / "last.npz", *SIZE],
    ):  # fmt: skip
        assert run([str(word) for word in command]) == 0
    return folder


def test_whitening_counts_the_dimensions_of_each_map(place, tmp_path, capsys):
    network, scenes = place / "n.safetensors", place / "scenes"
    whiten = ["whiten", network, scenes, "-o", tmp_path / "w.safetensors", *SIZE, *MAPS, "--json"]
    _, found, _ = call([*whiten, "--dimension", "4"], capsys)
    assert found is not None
    assert (found["from_dimension"], found["dimension"]) == (4 + 8, 4 + 4)
    code, _, err = call([*whiten, "--dimension", "5"], capsys)
    assert (code, "dimension 5; allowed: 1..4" in err) == (2, True)


def test_evaluation_needs_the_maps_of_the_whitening(place, capsys):
    evaluate = ["evaluate", place / "n.safetensors", "--dataset", place / "scenes", *SIZE, "--whitening",
                place / "w.safetensors", "--json"]  # fmt: skip
    _, found, _ = call([*evaluate, *MAPS], capsys)
    assert found is not None
    assert found["settings"]["maps"] == MAPS[1]
    assert found["settings"]["dimension"] == 6
    code, _, err = call(evaluate, capsys)
    assert code == 2
    assert f"trained with maps '{MAPS[1]}'" in err
    code, _, err = call([*evaluate, "--pool-maps", "layer9.9"], capsys)
    assert code == 2
    assert "map 'layer9.9' of network resnet18/16:layer2.1; allowed: conv1, " in err


def test_an_index_remembers_the_maps_and_a_search_follows(place, tmp_path, capsys):
    index = tmp_path / "i.index"
    assert call(["index", "add", index, place / "d.npz", "--json"], capsys)[0] == 0
    assert call(["index", "add", tmp_path / "raw.index", place / "raw.npz", "--json"], capsys)[0] == 0
    code, _, err = call(["index", "add", tmp_path / "raw.index", place / "last.npz"], capsys)
    assert code == 2
    assert f"maps is '{MAPS[1]}' in the one and '' in the other" in err
    _, info, _ = call(["index", "info", index, "--json"], capsys)
    assert info is not None
    assert info["settings"]["maps"] == MAPS[1]
    query = sorted((place / "scenes").glob("*.png"))[1]
    _, found, _ = call(["search", index, query, "--network", place / "n.safetensors", "--whitening",
                        place / "w.safetensors", "--json"], capsys)  # fmt: skip
    assert found is not None
    best = found["queries"][0]["matches"][0]
    assert best["name"] == query.name
    assert best["score"] == pytest.approx(1, abs=1e-6)


def export(folder, output, descriptors, *more):
    return ["export", folder / "n.safetensors", "-o", output, "--config", "nano", *SIZE, "--set",
            "residual=true", "--descriptor", descriptors, *more]  # fmt: skip


def test_the_chip_needs_the_last_map_too(place, tmp_path, capsys):
    white = ["--whitening", place / "w.safetensors"]
    code, _, err = call(export(place, tmp_path / "rom", place / "d.npz", *white), capsys)
    assert code == 2
    assert f"maps {MAPS[1]}; allowed on the chip: with that of the last layer, layer2.1" in err
    assert list(tmp_path.iterdir()) == []


def test_an_export_for_a_descriptor_of_two_maps(place, tmp_path, capsys):
    two = ["--pool-maps", "layer2.0,layer2.1"]
    trained = tmp_path / "two.npz"
    describe = ["describe", place / "n.safetensors", place / "scenes", "-o", trained, *SIZE, *two, "--json"]
    assert call(describe, capsys)[0] == 0
    command = export(place, tmp_path / "rom", trained)
    code, _, err = call(command, capsys)
    assert code == 2
    assert "descriptor of 2 maps; allowed: 1..1, or --set descriptor_maps=2" in err
    code, _, _ = call([*command, "--set", "descriptor_maps=2", "--json"], capsys)
    assert code == 0
    found = import_descriptor(tmp_path / "rom")
    assert found is not None
    assert [(part.channels, part.height, part.width) for part in found.maps] == [(8, 4, 4)] * 2
    plan = ["plan", place / "n.safetensors", "--config", "nano", *SIZE, "--set", "residual=true", "--json"]
    _, both, _ = call([*plan, *two], capsys)
    _, last, _ = call(plan, capsys)
    assert both is not None
    assert last is not None
    assert both["model_cycles"] > last["model_cycles"]
