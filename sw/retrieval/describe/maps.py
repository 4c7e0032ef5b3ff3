"""Maps of a network by name, for descriptors of several of them."""

from collections.abc import Sequence

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import ConvShape

SEPARATOR = ","


def map_names(layers: Sequence[ConvShape]) -> list[str]:
    """The name of every layer's output, each once: of a block's last layer the block's, ``layer3.0`` of
    ``layer3_0_conv2``; of a VGG layer that pools ``pool3``; of any other layer its own."""
    names: list[str] = []
    for number, layer in enumerate(layers):
        block, _, _ = layer.name.rpartition("_conv")
        following = layers[number + 1].name if number + 1 < len(layers) else ""
        if block and not following.startswith(f"{block}_"):
            names.append(block.replace("_", "."))
        elif layer.pool and layer.name.startswith("conv") and "_" in layer.name:
            names.append(f"pool{layer.name.removeprefix('conv').partition('_')[0]}")
        else:
            names.append(layer.name)
    return names if len(set(names)) == len(names) else [layer.name for layer in layers]


def parse_maps(text: str | None) -> tuple[str, ...]:
    """``layer3.0,layer4.0`` as names; () for none."""
    return tuple(text.split(SEPARATOR)) if text else ()


def chosen_maps(network: str, layers: Sequence[ConvShape], wanted: Sequence[str]) -> tuple[int, ...]:
    """The layers whose maps are named, in the order of the network; () if that is the last one alone, or none
    is. Raises InputError for a name that the network, called ``network``, does not have, and for one that
    comes twice."""
    names = map_names(layers)
    for name in wanted:
        if name not in names:
            raise InputError(f"map {name!r} of network {network}; allowed: {', '.join(names)}")
        if list(wanted).count(name) > 1:
            raise InputError(f"map {name!r} twice; allowed: each map once")
    found = tuple(number for number, name in enumerate(names) if name in wanted)
    return () if found == (len(layers) - 1,) else found


def pooled_layers(network: str, shapes: Sequence[ConvShape], maps: Sequence[str]) -> tuple[int, ...]:
    """The layers of ``network`` whose maps the chip pools: those that are named, or the last one if none is.
    Raises InputError for names that do not include the last layer's map."""
    last = len(shapes) - 1
    layers = chosen_maps(network, shapes, maps) or (last,)
    if layers[-1] != last:
        raise InputError(f"maps {SEPARATOR.join(maps)}; allowed on the chip: with that of the last layer, "
                         f"{map_names(shapes)[last]}")
    return layers
