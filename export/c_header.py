"""The C header of an export: what firmware needs to know about the network and the memories."""

from kestrel.export.entries import Manifest
from kestrel.sw.model.network import IMAGE_CHANNELS

HEADER = "kestrel.h"

LAYER_ARGUMENTS = (
    "index", "name", "in_channels", "out_channels", "height", "width", "mask_bits", "shift", "pool",
    "rom_word", "rom_words",
)  # fmt: skip
"""What KESTREL_LAYERS(X) passes to X for each layer."""


def c_header(manifest: Manifest) -> str:
    """The text of a C99 header of macros only, so that it costs nothing where it is not used.

    KESTREL_LAYERS(X) expands X(index, name, ...) for every layer; the program defines X. Of a batch the
    heights of image and output are those of all images together, as they go through the streams.
    """
    config, channels = manifest.config, manifest.layers[0].in_channels
    last = manifest.layers[-1]
    size = manifest.shapes[-1].out_size(last.height, last.width)
    guard = "KESTREL_NETWORK_H"
    values: list[tuple[str, str]] = [
        ("KESTREL_NETWORK", _string(manifest.network)),
        ("KESTREL_PREPROCESSING", _string(manifest.preprocessing)),
        ("KESTREL_CONFIG", _string(config.name)),
        ("KESTREL_INPUT_LANES", str(config.input_lanes)),
        ("KESTREL_OUTPUT_LANES", str(config.output_lanes)),
        ("KESTREL_LOAD_KERNELS", str(config.load_kernels)),
        ("KESTREL_CONFIG_ACTIVATION_BITS", str(config.activation_bits)),
        ("KESTREL_STREAM_BYTES", str(config.stream_bytes)),
        ("KESTREL_ACTIVATION_BITS", str(manifest.activation_bits)),
        ("KESTREL_IMAGE_CHANNELS", str(IMAGE_CHANNELS if manifest.blocks else channels)),
        ("KESTREL_IMAGE_HEIGHT", str(manifest.images * manifest.height)),
        ("KESTREL_IMAGE_WIDTH", str(manifest.width)),
        *((("KESTREL_IMAGES", str(manifest.images)),) if manifest.images > 1 else ()),
        ("KESTREL_OUTPUT_CHANNELS", str(last.out_channels)),
        ("KESTREL_OUTPUT_HEIGHT", str(manifest.images * size[0])),
        ("KESTREL_OUTPUT_WIDTH", str(size[1])),
        ("KESTREL_WEIGHT_WORD_BITS", str(manifest.weights.word_bits)),
        ("KESTREL_WEIGHT_WORDS", f"{manifest.weights.words}UL"),
        ("KESTREL_WEIGHT_CRC32", f"0x{manifest.weights.crc32:08X}UL"),
        ("KESTREL_TABLE_WORD_BITS", str(manifest.table.word_bits)),
        ("KESTREL_TABLE_WORDS", f"{manifest.table.words}UL"),
        ("KESTREL_TABLE_CRC32", f"0x{manifest.table.crc32:08X}UL"),
        ("KESTREL_NETWORK_CRC32", f"0x{manifest.network_crc32:08X}UL"),
        *(
            (
                ("KESTREL_DESCRIPTOR_WORDS", f"{manifest.descriptor.words}UL"),
                ("KESTREL_DESCRIPTOR_CRC32", f"0x{manifest.descriptor.crc32:08X}UL"),
            )
            if manifest.descriptor
            else ()
        ),
        ("KESTREL_LAYER_COUNT", str(len(manifest.layers))),
    ]
    width = max(len(name) for name, _ in values)
    lines = [
        "/* Written by kestrel export. CRC-32: that of zlib, over the words' little-endian bytes. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        *(f"#define {name:<{width}} {value}" for name, value in values),
        "",
        f"/* X({', '.join(LAYER_ARGUMENTS)}) */",
        "#define KESTREL_LAYERS(X) \\",
    ]
    rows = [
        f"    X({n}, {_string(e.name)}, {e.in_channels}, {e.out_channels}, {e.height}, {e.width}, "
        f"{e.mask_bits}, {e.shift}, {int(e.pool)}, {e.rom_word}UL, {e.rom_words}UL)"
        for n, e in enumerate(manifest.layers)
    ]
    lines += [f"{row} \\" for row in rows[:-1]] + [rows[-1], "", f"#endif /* {guard} */"]
    return "".join(f"{line}\n" for line in lines)


def _string(text: str) -> str:
    """A C string literal. Question marks are escaped too: ??/ would be a trigraph."""
    plain = {byte for byte in range(0x20, 0x7F) if chr(byte) not in '"\\?'}
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
