"""What the weight loader writes into the shadow registers of the datapath."""

from amaranth.hdl import signed
from amaranth.lib import data

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import BIAS_BITS, PAD_BITS, SCALAR_BITS, TAPS


def kernel_layout(config: EngineConfig) -> data.StructLayout:
    """A kernel as the weight registers hold it: its scalar alpha, and for each tap the digit that the
    running pass applies (see ``kestrel.hw.spec.masks``)."""
    return data.StructLayout({"alpha": SCALAR_BITS, "digits": data.ArrayLayout(config.digit_bits, TAPS)})


def kernel_bus(config: EngineConfig) -> data.StructLayout:
    """Kernels on their way to the shadow registers: of the output lanes marked in ``out`` (a bit a lane),
    and of the input lanes of the block marked in ``block`` (a bit a block of ``load_kernels`` lanes)."""
    return data.StructLayout(
        {
            "out": config.output_lanes,
            "block": config.input_lanes // config.load_kernels,
            "kernels": data.ArrayLayout(kernel_layout(config), config.load_kernels),
        }
    )


def bias_bus(config: EngineConfig) -> data.StructLayout:
    """Biases on their way to the shadow registers: of the output lanes of the block marked in ``block`` (a
    bit a block of ``load_kernels`` lanes)."""
    return data.StructLayout(
        {
            "block": -(-config.output_lanes // config.load_kernels),
            "biases": data.ArrayLayout(signed(BIAS_BITS), config.load_kernels),
        }
    )


def pad_bus(config: EngineConfig) -> data.StructLayout:
    """Pad values on their way to the shadow registers: of the input lanes of the block marked in ``block``
    (a bit a block of ``load_kernels`` lanes)."""
    return data.StructLayout(
        {
            "block": config.input_lanes // config.load_kernels,
            "values": data.ArrayLayout(PAD_BITS, config.load_kernels),
        }
    )
