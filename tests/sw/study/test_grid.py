"""Grids: what they stand for, and what is refused."""

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.study.codecs import FLOAT_CODEC, layer_encoder, make_codec
from kestrel.sw.study.grid import parse_grid, read_grid
from kestrel.sw.study.quick import TEXT, quick_grid
from kestrel.sw.study.run import tasks_of

GRID = """
whitenings = ["none"]
[[data]]
name = "d"
folder = "scenes"
[[networks]]
name = "vgg16"
weights = "random:1"
cuts = ["pool1"]
[[codecs]]
family = "scalar"
bits = [2, 3]
coding = ["fixed", "huffman"]
[[codecs]]
family = "vector"
[[poolings]]
name = "nip"
"""


def test_lists_stand_for_every_combination():
    grid = parse_grid(GRID)
    assert [codec.label for codec in grid.codecs] == [
        "lloyd-max-2bit", "lloyd-max-2bit-huffman", "lloyd-max-3bit", "lloyd-max-3bit-huffman",
        "vector-k256-b2"]


def test_codings_of_the_same_weights_are_one_task():
    tasks = tasks_of(parse_grid(GRID))
    assert [(task.name, task.codings) for task in tasks] == [
        ("vgg16/float", ()), ("vgg16/lloyd-max-2bit", ("fixed", "huffman")),
        ("vgg16/lloyd-max-3bit", ("fixed", "huffman")), ("vgg16/vector-k256-b2", ("fixed",))]


def test_labels_tell_codecs_apart():
    codecs = quick_grid().codecs
    assert len({codec.label for codec in codecs}) == len(codecs)


def test_the_quick_grid_is_read_from_a_file_as_from_memory(tmp_path):
    (tmp_path / "q.toml").write_text(TEXT)
    assert read_grid(tmp_path / "q.toml") == quick_grid()


@pytest.mark.parametrize(("old", "new", "message"), [
    ("whitenings", "whitening", "no key 'whitening'; allowed: codecs, data, dense, networks, poolings, seed"),
    ('["none"]', '["pca"]', "whitenings: 'pca'; allowed: none, after"),
    ('["none"]', '["after"]', "data d: no training; allowed with a whitening: a folder"),
    ('folder = "scenes"', 'path = "scenes"', "data: no key 'path'; allowed: calibration, "),
    ('folder = "scenes"', "", "data: no folder; allowed: name, folder, protocol"),
    ('folder = "scenes"', 'folder = "s"\nsize = 9', "data d: size 9; allowed: 32..1024"),
    ('"vgg16"', '"vgg"', "network 'vgg' is not known; allowed: alexnet"),
    ('["pool1"]', '"pool1"', "cuts = 'pool1'; allowed: a list of at least one"),
    ("bits = [2, 3]", "bits = [2, 9]", "bits 9; allowed: 1..8"),
    ("bits = [2, 3]", 'bits = "2"', "family scalar: bits = '2'; allowed: a number"),
    ("bits = [2, 3]", "bit = 2", "family scalar: no option 'bit'; allowed: method, bits, coding, batch_norm"),
    ('"huffman"', '"zip"', "coding 'zip'; allowed: fixed, huffman"),
    ('"vector"', '"fractal"', "family 'fractal'; allowed: float, scalar, vector, pruned, masks"),
    ('name = "nip"', 'name = "nip"\nmoment = "median"', "moment 'median'; allowed: sqrt"),
    ('name = "nip"', 'name = "nip"\nborder = "3"', "poolings: border = '3'; allowed: int"),
    ("[[poolings]]", "[poolings]", "poolings: "),
    ('[[poolings]]\nname = "nip"', "", "no poolings; allowed: at least one"),
    ("[[data]]", "[[data", "not TOML"),
])
def test_a_bad_grid_is_refused_in_one_line_that_names_the_file(old, new, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(GRID.replace(old, new, 1))
    with pytest.raises(InputError) as refused:
        read_grid(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_cut_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="network vgg16: no map 'pool9'; allowed cuts: all, conv1_1"):
        tasks_of(parse_grid(GRID.replace("pool1", "pool9")))


@pytest.mark.parametrize("options", [{"rule": "vendor"}, {"others": 9}, {"bits": 6}, {"batch_norm": 3}])
def test_bad_options_of_masks_are_refused(options):
    with pytest.raises(InputError, match="allowed"):
        make_codec("masks", options)


def test_a_float_codec_keeps_everything(rng):
    weights = rng.standard_normal((2, 3)).astype("float32")
    assert len(layer_encoder(FLOAT_CODEC)(weights)) == 24 + 16


def test_scalars_from_tables_are_for_networks_of_the_engine():
    grid = parse_grid(GRID.replace('family = "vector"', 'family = "masks"\nrule = "sequential"\nbits = 1\n'
                                   'scalar_bits = [8, 4]')
                      + '[[networks]]\nname = "squeezenet1_0"\nweights = "random:1"\ncuts = ["fire2"]\n')
    names = [task.name for task in tasks_of(grid) if "masks" in task.name]
    assert names == ["vgg16/masks-sequential-1bit", "squeezenet1_0/masks-sequential-1bit",
                     "vgg16/masks-sequential-1bit-q4"]


@pytest.mark.parametrize(("rule", "bits", "allowed"), [("least-squares", 4, "8"),
                                                       ("sequential", 5, "8, 4, 3, 2")])
def test_scalar_widths_that_a_rule_has_not_are_refused(rule, bits, allowed):
    with pytest.raises(InputError, match=f"scalar_bits = {bits} with rule {rule}; allowed: {allowed}$"):
        make_codec("masks", {"rule": rule, "bits": 1, "scalar_bits": bits})
