"""The bench of memories finds every memory in the Verilog."""

from kestrel.hw.spec.configurations import NAMED


def test_every_memory_is_found_with_its_words_and_bits(load_script):
    config = NAMED["nano"].with_options(
        partial_depth=60, max_width=30, feature_words=(100, 70), weight_words=333, table_words=222,
        descriptor_channels=16, descriptor_words=111,
    )  # fmt: skip
    found = {memory.name: (memory.words, memory.word_bits)
             for memory in load_script("memories").chip_memories(config)}
    features = {f"part_{part}_bank_{bank}": (words, 16) for part, words in ((0, 100), (1, 70))
                for bank in range(3)}
    vectors = dict.fromkeys(("best", "squares", "sums"), (16, 33))
    roms = {"weights": (333, 64), "table": (222, 32), "descriptor": (111, 32)}
    others = {"partial_sums": (60, 64), "line": (15, 16), "records": (256, 32)}
    assert found == features | vectors | roms | others
