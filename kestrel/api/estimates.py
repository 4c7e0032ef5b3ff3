"""What a chip costs and does, before it is synthesised."""

from collections.abc import Sequence

from kestrel.api.planning import Config, Network, check_top, find_config, find_network, is_named
from kestrel.api.planning import plan as plan_frame
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.progress import Progress
from kestrel.sw.estimate.devices import find_device
from kestrel.sw.estimate.estimate import Estimate, make_estimate
from kestrel.sw.estimate.speed import DEFAULT_CLOCK_MHZ, check_clock
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.sizes import Size, height_width
from kestrel.sw.planning.fit import fit_layers, fit_memories, fitted_name
from kestrel.sw.planning.report import DEFAULT_MASK_BITS, named_layers
from kestrel.sw.retrieval.describe.maps import pooled_layers


def estimate(
    network: Network, config: Config = "edge", size: Size = 224, *, clock_mhz: float = DEFAULT_CLOCK_MHZ,
    device: str | None = None, top: str = "engine", mask_bits: str | None = None,
    pool_maps: Sequence[str] = (), batch: int = 1, fit: bool = False, pooling: str | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """What a frame takes and what the engine costs: cycles from the plan, area and FPGA cells interpolated
    between synthesised engines, memories in bits and block RAMs, energy of a frame.

    ``network``, ``config``, ``size`` (pixels), ``mask_bits``, ``pool_maps`` and ``batch`` are as for
    ``plan``. ``clock_mhz`` is the clock at which cycles become time. ``device``: an FPGA, such as "ecp5-85".
    ``top`` is "engine", or "chip" for what stands around it and a descriptor unit too. With ``fit`` the
    engine's memories are as small as ``fit_config`` makes them. ``pooling``: of a chip, the crops of a
    descriptor, whose time and energy are then estimated too. Raises InputError for anything that the
    configuration cannot hold, an unknown device or an impossible clock.
    """
    check_top(top)
    check_clock(clock_mhz)
    found = None if device is None else find_device(device)
    if fit:
        config = fitted_config(network, config, size, mask_bits=mask_bits, pool_maps=pool_maps, batch=batch)
    planned = plan_frame(network, config, size, mask_bits=mask_bits, pool_maps=pool_maps, batch=batch,
                         progress=progress)
    return make_estimate(planned.network, planned.plan, planned.report, clock_mhz, top=top, device=found,
                         pooling=pooling)


def fitted_config(network: Network, config: Config, size: Size, *, mask_bits: str | None,
                  pool_maps: Sequence[str], batch: int) -> EngineConfig:
    """The configuration with memories fitted to a network, or to a name and mask bits. A descriptor unit's
    stay as they are. Raises InputError."""
    base, (height, width) = find_config(config), height_width(size)
    if batch > 1:
        raise InputError(f"--fit with batch {batch}; allowed: with one picture a frame")
    if not is_named(network):
        loaded = find_network(network)
        shapes = [layer.shape for layer in loaded.layers]
        inner = pooled_layers(loaded.name, shapes, pool_maps)[:-1]
        fitted = fit_memories(loaded, base, height, width, inner=inner)
    else:
        if pool_maps:
            raise InputError("--fit with maps of a network's name; allowed: with a network file")
        name = str(network)
        layers = named_layers(name, mask_bits or DEFAULT_MASK_BITS)
        fitted = fit_layers(name, layers, base, height, width, blocks=parse_network(name).blocks)
    return fitted.with_options(name=fitted_name(base))
