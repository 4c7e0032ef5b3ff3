"""What travels with every pixel through the pipeline."""

from amaranth.lib import data

from kestrel.hw.spec.engine_config import EngineConfig

PIXEL = data.StructLayout(
    {
        "valid": 1,
        "first": 1,  # first pixel of a pass: weights, pad values, biases change before it
        "last": 1,  # last pixel of a pass
        "row_end": 1,  # last pixel of a row
        "fresh": 1,  # the partial sum starts at zero
        "emit": 1,  # the partial sum is complete: requantise and write
        # Which digit of the mask codes: the sum counts 2**digit times. Where three rows are computed at once
        # there is only one; then how many of the three exist, 1 to 3.
        "digit": 2,
        "last_out": 1,  # the pass serves the layer's last output group
    }
)

EDGES = data.StructLayout({"left": 1, "right": 1, "top": 1, "bottom": 1})
"""On which edges of the image the pixel lies."""


def result_layout(config: EngineConfig) -> data.StructLayout:
    """What goes with the results to the writer. row_end and last may come without valid: an odd last row or
    column is dropped, as torch does."""
    return data.StructLayout(
        {
            "valid": 1,  # there is a pixel to write
            "row_end": 1,  # the written row is complete
            "last": 1,  # the output group's strip is complete
            "last_out": 1,  # it was the layer's last output group
            # In row groups: pixels to write, of three rows.
            **({"rows": 2} if config.row_groups else {}),
        }
    )
