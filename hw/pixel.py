"""What travels with every pixel through the pipeline."""

from amaranth.lib import data

PIXEL = data.StructLayout(
    {
        "valid": 1,
        "first": 1,  # first pixel of a pass: weights, pad values, biases change before it
        "last": 1,  # last pixel of a pass
        "row_end": 1,  # last pixel of a row
        "fresh": 1,  # the partial sum starts at zero
        "emit": 1,  # the partial sum is complete: requantise and write
        "digit": 2,  # which digit of the mask codes: the sum counts 2**digit times
        "last_out": 1,  # the pass serves the layer's last output group
    }
)

EDGES = data.StructLayout({"left": 1, "right": 1, "top": 1, "bottom": 1})
"""On which edges of the image the pixel lies."""
