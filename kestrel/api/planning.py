"""Plans of a frame, and what a network and a configuration may be given as; nothing here loads torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.spec.configurations import load_config
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.progress import Progress, silent
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.model.embedded import NETWORK_PATHS
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.sizes import Size, height_width
from kestrel.sw.planning.fit import FittedConfig
from kestrel.sw.planning.plan import Plan, make_plan, plan_layers
from kestrel.sw.planning.proof import PlanError, check_plan
from kestrel.sw.planning.report import DEFAULT_MASK_BITS, PlanReport, plan_named, report_plan
from kestrel.sw.retrieval.describe.maps import pooled_layers

NETWORK_SUFFIX = ".safetensors"

TOPS = ("engine", "chip")

Network = CompressedNetwork | str | Path
"""A network in memory, a network file, or the name of one that is part of the package: ``embedded``,
``resnet18-retrieval``, ``vgg16-retrieval``, ``compact-retrieval``."""

Config = EngineConfig | FittedConfig | str | Path
"""An engine's configuration, one that is fitted to a network, the name of one, or a .toml file."""


def find_network(network: Network) -> CompressedNetwork:
    """The network in memory, which is loaded from its file if necessary. Raises InputError."""
    return network if isinstance(network, CompressedNetwork) else load_network(network)


def find_config(config: Config) -> EngineConfig:
    """The configuration in memory, which is loaded by its name or from its file if necessary. Raises
    InputError."""
    if isinstance(config, FittedConfig):
        return config.config
    return config if isinstance(config, EngineConfig) else load_config(str(config))


def check_top(top: str) -> None:
    """Raises InputError for what is neither the engine nor the whole chip."""
    if top not in TOPS:
        raise InputError(f"top {top!r}; allowed: {', '.join(TOPS)}")


@dataclass(frozen=True)
class FramePlan:
    """How a frame goes through an engine.

    ``network`` is the network's name. ``plan`` holds the strips, their order and the places of the maps.
    ``report`` holds cycles and memory. ``flaw`` is the error that the proof that no row is lost found, or
    None if the proof succeeded.
    """

    network: str
    plan: Plan
    report: PlanReport
    flaw: str | None

    @property
    def proved(self) -> bool:
        return self.flaw is None


def plan(network: Network, config: Config = "edge", size: Size = 224, *,
         mask_bits: str | None = None, pool_maps: Sequence[str] = (), batch: int = 1,
         progress: Progress | None = None) -> FramePlan:
    """Plans a frame, and replays every visit on a model of the feature memory to prove that no row is lost.

    ``network`` is a compressed network or a name such as ``vgg16/8:pool3``. With a name, ``mask_bits`` is as
    for ``compress`` (None: 3). ``size`` is that of the image, in pixels, and ``batch`` the number of images
    in the frame. ``pool_maps``: layers or blocks whose maps go out to a descriptor unit, the last layer's
    among them (none: that one alone). Raises InputError for anything that the configuration cannot hold.
    """
    chosen, (height, width) = find_config(config), height_width(size)
    with (progress or silent)("planning", None):
        if not is_named(network):
            if mask_bits is not None:
                raise InputError(f"--mask-bits {mask_bits}: {_name(network)} has its own; "
                                 "allowed with a network's name")
            compressed = find_network(network)
            name, layers = compressed.name, plan_layers(compressed)
            inner = pooled_layers(name, [layer.shape for layer in layers], pool_maps)[:-1]
            made = make_plan(compressed, chosen, height, width, batch, inner=inner)
        else:
            name = str(network)
            inner = pooled_layers(name, parse_network(name).layers, pool_maps)[:-1]
            bits = mask_bits or DEFAULT_MASK_BITS
            layers, made = plan_named(name, bits, chosen, height, width, batch, inner)
        return FramePlan(name, made, report_plan(name, layers, made), _flaw(made))


def is_named(network: Network) -> bool:
    """Whether only a name as ``vgg16/8:pool3`` is given, of a network without weights."""
    return not isinstance(network, CompressedNetwork) and not is_network_file(str(network))


def is_network_file(network: str) -> bool:
    """Whether a file is meant, and not a name as ``vgg16/8:pool3``."""
    return network in NETWORK_PATHS or network.endswith(NETWORK_SUFFIX) or Path(network).is_file()


def _name(network: Network) -> str:
    return network.name if isinstance(network, CompressedNetwork) else str(network)


def _flaw(planned: Plan) -> str | None:
    try:
        check_plan(planned)
    except PlanError as error:
        return str(error)
    return None
