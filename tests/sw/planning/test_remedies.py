"""What a message says to write on the command line is what helps."""

import re

import pytest

from kestrel.cli.options.config import chosen_config
from kestrel.export.schedule_table import encode_table
from kestrel.hw.spec.configurations import load_config
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import parse_network
from kestrel.sw.planning.geometry import PlanLayer
from kestrel.sw.planning.plan import plan_frame
from kestrel.sw.planning.remedies import larger

NANO = load_config("nano")
TOO_SMALL = {
    "weight_words": (["weight_words=50"], 3, (32, 32)),
    "table_words": (["table_words=64"], 3, (32, 32)),
    "feature_words": (["feature_words=4,9"], 3, (32, 32)),
    "feature_words of one part": (["feature_words=9999,9"], 3, (32, 32)),
    "partial_depth": (["partial_depth=32", "max_width=32"], 3, (32, 32)),
    "max_width": (["max_width=16"], 3, (16, 40)),
    "max_width and partial_depth": (["max_width=16", "partial_depth=32"], 3, (16, 40)),
    "mask_bits_max": (["mask_bits_max=2"], 4, (32, 32)),
}


def export_plan(settings, mask_bits, size):
    """Plans a small network, table included."""
    shape = parse_network("vgg16/16:pool2")
    layers = [PlanLayer(layer, mask_bits, 8, has_pad=False, reads_image=n == 0)
              for n, layer in enumerate(shape.layers)]
    encode_table(plan_frame("net", layers, 5, chosen_config("nano", settings), *size))


@pytest.mark.parametrize("what", TOO_SMALL)
def test_the_remedy_helps(what):
    settings, mask_bits, size = TOO_SMALL[what]
    with pytest.raises(InputError) as caught:
        export_plan(settings, mask_bits, size)
    options = re.findall(r"--set (\S+)", str(caught.value))
    assert [option.partition("=")[0] for option in options] == what.partition(" of ")[0].split(" and ")
    export_plan([*settings, *options], mask_bits, size)


def test_memories_are_suggested_in_round_numbers():
    assert larger(NANO, weight_words=144_544) == "allowed: --set weight_words=145408"
    assert larger(NANO, weight_words=1000) == "allowed: --set weight_words=1000"
    assert larger(NANO, feature_words=(10, 5000)) == "allowed: --set feature_words=10,5120"
    assert larger(NANO, partial_depth=1500) == "allowed: --set partial_depth=1500"


def test_what_no_configuration_may_have_is_not_suggested():
    assert larger(NANO, weight_words=1 << 27) == (
        "no configuration may have as much; allowed: a smaller network or image"
    )
