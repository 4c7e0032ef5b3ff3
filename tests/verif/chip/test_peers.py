"""The chip among masters and slaves that are slow or particular, and beside a chip of another clock."""

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.verif.chip.case import run_chip, write_case

CHIP = ChipConfig(
    NAMED["nano"].with_options(
        partial_depth=64, max_width=40, feature_words=(1000, 1000), weight_words=2048, table_words=512
    )
)
CASE = "tiny"
TESTS = 7 + 9 + 2 + 6


def test_slow_and_particular_peers(tmp_path, seed):
    write_case(CHIP, CASE, seed, tmp_path)
    assert len(run_chip(CHIP, "kestrel.verif.chip.peers_bench", tmp_path, CASE, seed).ran) == TESTS
