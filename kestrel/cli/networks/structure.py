"""Networks as a listing shows them: families with their cuts, and the layers of one network."""

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from kestrel.api.planning import is_network_file
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.model.graph import weight_counts
from kestrel.sw.model.network import (
    IMAGE,
    VGG_BLOCKS,
    ConvShape,
    NetworkShape,
    parse_network,
    source_of,
)
from kestrel.sw.model.residual_networks import COUNTED_RESNET, RESIDUAL_FAMILIES, block_cuts


def families() -> list[dict[str, Any]]:
    """Every family, with its cuts in their order. That of ``resnet`` has no layers before there is a file."""
    return [_family(name) for name in (*VGG_BLOCKS, *RESIDUAL_FAMILIES)]


def _family(name: str) -> dict[str, Any]:
    if name == COUNTED_RESNET:
        return {"name": name, "layers": None, "weights": None, "residual": True, "cuts": []}
    layers = parse_network(name).layers
    if name in VGG_BLOCKS:
        blocks = range(1, len(VGG_BLOCKS[name]) + 1)
        cuts = [layer.name for layer in layers] + [f"pool{block}" for block in blocks]
    else:
        cuts = block_cuts(name)
    return {"name": name, "layers": len(layers), "weights": sum(weight_counts(layers)),
            "residual": not all(layer.is_plain for layer in layers), "cuts": cuts}


def show_families(found: list[dict[str, Any]], console: Console) -> None:
    """The table of ``families``."""
    networks = Table("network", "layers", "weights", "cuts", title="Networks", title_justify="left")
    for network in found:
        if network["layers"] is None:
            networks.add_row(network["name"], "", "", "a block, as layer4.0")
            continue
        cuts = network["cuts"]
        networks.add_row(network["name"], str(network["layers"]), f"{network['weights']:,}",
                         f"{cuts[0]} ... {cuts[-1]}")
    console.print(networks)
    residual = ", ".join(network["name"] for network in found if network["residual"])
    console.print("A divisor of the channels and a cut may follow, as in vgg16/8:pool3 or resnet18:layer3.1.")
    console.print(f"The blocks of {COUNTED_RESNET} are counted in the file of its weights. For engines with "
                  f"residual = true only: {residual}.\n", highlight=False)


def structure(text: str) -> dict[str, Any]:
    """The layers of the network that ``text`` names: a name, a network file or ``embedded``. Raises
    InputError."""
    if is_network_file(text):
        network = load_network(text)
        return _described(_shape(network), network)
    return _described(parse_network(text), None)


def _shape(network: CompressedNetwork) -> NetworkShape:
    return NetworkShape(network.name, tuple(layer.shape for layer in network.layers), (), network.blocks)


def _described(shape: NetworkShape, network: CompressedNetwork | None) -> dict[str, Any]:
    counts = weight_counts(shape.layers)
    layers = [_layer(shape, number) | {"weights": counts[number]} for number in range(len(shape.layers))]
    found = {"name": shape.name, "blocks": shape.blocks, "weights": sum(counts), "layers": layers}
    if network is None:
        return found
    for layer, stored in zip(layers, network.layers, strict=True):
        layer |= {"mask_bits": stored.mask_bits, "scalar_bits": stored.scalar_bits}
    return found | {"weight_bits": network.weight_bits, "bits_per_weight": network.weight_bits / sum(counts)}


def _layer(shape: NetworkShape, number: int) -> dict[str, Any]:
    layer, source = shape.layers[number], source_of(shape.layers, number)
    shortcut = layer.shortcut
    return {
        "name": layer.name, "source": _name(shape.layers, source), "kernel": layer.kernel,
        "stride": layer.stride, "in_channels": layer.in_channels, "out_channels": layer.out_channels,
        "pool": layer.pool_size if layer.pool else None,
        "shortcut": shortcut and {"source": _name(shape.layers, shortcut.source),
                                  "projection": shortcut.projection, "stride": shortcut.stride},
        "shares": None if layer.shares is None else shape.layers[layer.shares].name,
    }  # fmt: skip


def _name(layers: tuple[ConvShape, ...], number: int) -> str:
    return "image" if number == IMAGE else layers[number].name


def show_structure(found: dict[str, Any], console: Console) -> None:
    """The table of ``structure``, where layers name each other by their numbers."""
    compressed = "mask_bits" in found["layers"][0]
    table = Table("", "layer", "reads", "kernel", "channels", "pool", "shortcut", "shares",
                  *(["bits", "scalar"] if compressed else []), title=found["name"], title_justify="left",
                  box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.columns[1].min_width = max(len(layer["name"]) for layer in found["layers"])
    numbers = {layer["name"]: str(number) for number, layer in enumerate(found["layers"])}
    for layer in found["layers"]:
        size, pool, given = layer["kernel"], layer["pool"], layer["shortcut"]
        shortcut = ""
        if given is not None:
            shortcut = numbers[given["source"]] + f", 1x1/{given['stride']}" * given["projection"]
        table.add_row(
            numbers[layer["name"]], layer["name"], numbers.get(layer["source"], layer["source"]),
            f"{size}x{size}/{layer['stride']}", f"{layer['in_channels']} to {layer['out_channels']}",
            f"{pool}x{pool}/2" if pool else "", shortcut, numbers.get(layer["shares"], ""),
            *([str(layer["mask_bits"]), str(layer["scalar_bits"])] if compressed else []),
        )  # fmt: skip
    console.print(table)
    if found["blocks"]:
        console.print("The image is read in blocks of 2x2 pixels: the first layer is a 7x7/2 convolution.")
    size = f", {found['bits_per_weight']:.3f} bits a weight, tables included" if compressed else ""
    console.print(f"{len(found['layers'])} layers, {found['weights']:,} weights{size}", highlight=False)
