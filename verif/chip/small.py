"""Chips with small memories for the benches: of every kind, and quickly built."""

from dataclasses import replace

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import DescriptorConfig

SMALL = replace(
    NAMED["nano"], partial_depth=64, max_width=40, feature_words=(1000, 1000), weight_words=2048,
    table_words=512,
)  # fmt: skip
CHIPS = {
    "nano": ChipConfig(SMALL),
    "checks itself": ChipConfig(SMALL, startup_check=True),
    "4x2": ChipConfig(
        replace(SMALL, input_lanes=4, load_kernels=2, activation_bits=6, stream_bytes=3, row_groups=True)
    ),
    "describes": ChipConfig(SMALL, DescriptorConfig(8, 256)),
    "describes without whitening": ChipConfig(
        replace(SMALL, input_lanes=4, output_lanes=4), DescriptorConfig(4, 64)
    ),
    "describes, 16 rows at once": ChipConfig(
        replace(SMALL, whitening_rows=16), DescriptorConfig(8, 256, matrix_rows=16)
    ),
    "describes three maps": ChipConfig(
        replace(SMALL, descriptor_maps=3, feature_words=(1000, 600), residual=True),
        DescriptorConfig(16, 1024, maps=3),
    ),
    "1x1": ChipConfig(replace(SMALL, input_lanes=1, output_lanes=1)),
    "2x4 residual": ChipConfig(
        replace(SMALL, output_lanes=4, load_kernels=2, feature_words=(1000, 600), residual=True)
    ),
}
