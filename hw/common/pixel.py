"""What travels with every pixel through the pipeline."""

from amaranth.lib import data

from kestrel.hw.spec.engine_config import EngineConfig


def pixel_layout(config: EngineConfig) -> data.StructLayout:
    """What a block is told of the pixel whose data come one cycle later; without ``valid`` the other fields
    mean nothing."""
    return data.StructLayout(
        {
            "valid": 1,  # there is a pixel
            "first": 1,  # it is the first pixel of a pass: weights, pad values and biases change before it
            "last": 1,  # it is the last pixel of a pass
            "row_end": 1,  # it is the last pixel of a row
            "fresh": 1,  # the partial sum starts at zero
            "emit": 1,  # the partial sum is complete with this pass: requantise and write it
            "digit": 2,  # which digit of the mask codes the pass applies: its sum counts 2**digit times
            "last_out": 1,  # the pass serves the layer's last output group
            **(
                {
                    "top": 1,  # it lies in the map's first row
                    "bottom": 1,  # it lies in the map's last row
                    "odd": 1,  # it lies in an odd row
                }
                if config.residual
                else {}
            ),
            # How many of the three rows that a layer in row groups computes at once exist, 1 to 3.
            **({"rows": 2} if config.row_groups else {}),
        }
    )


EDGES = data.StructLayout({"left": 1, "right": 1, "top": 1, "bottom": 1})
"""The edges of the image on which the pixel lies."""


def result_layout(config: EngineConfig) -> data.StructLayout:
    """What the writer is told of the results. row_end and last may come without valid, because an odd last
    row or column is dropped, as torch does."""
    return data.StructLayout(
        {
            "valid": 1,  # there is a pixel to write
            "row_end": 1,  # the written row is complete
            "last": 1,  # the output group's strip is complete
            "last_out": 1,  # it was the layer's last output group
            # How many of the three rows of a layer in row groups have a pixel to write, 1 to 3.
            **({"rows": 2} if config.row_groups else {}),
        }
    )
