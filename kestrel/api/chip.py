"""The chip: plans, ROM images and Verilog."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kestrel.api.contents import chip_contents
from kestrel.api.pictures import Pictures
from kestrel.api.planning import Config, Network, check_top, find_config, find_network
from kestrel.export.descriptor_rom import fit_descriptor
from kestrel.export.export import ExportReport
from kestrel.export.export import export_network as write_export
from kestrel.hw.emit.packaging.names import DEFAULT, Names
from kestrel.hw.emit.packaging.package import package
from kestrel.hw.emit.packaging.wrapper import WRAPPER
from kestrel.hw.emit.verilog import VerilogFile, engine_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_directory, check_output_directory
from kestrel.sw.common.origin import Origin
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.pictures.sizes import Size, height_width
from kestrel.sw.planning.fit import FittedConfig, fit_memories, fitted_name
from kestrel.sw.retrieval.describe.chip_constants import (
    joined_constants,
    map_shapes,
    plain_quantiser,
    trained_constants,
)
from kestrel.sw.retrieval.describe.descriptor import Descriptors, load_descriptors
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.maps import SEPARATOR, parse_maps, pooled_layers
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import Whitening, load_whitening
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS

FILE_LIST = "files.f"
CONFIG_FILE = "config.toml"

def export_network(
    network: Network, folder: str | Path, config: Config = "edge", size: Size = 224, *, batch: int = 1,
    descriptors: Descriptors | str | Path | None = None, whitening: Whitening | str | Path | None = None,
    threshold: str | None = None, force: bool = False,
) -> ExportReport:
    """Writes weight ROM, schedule table, C header and manifest.

    ``folder`` is written; it must be new, empty or an earlier export of the same network and settings.
    ``size`` is that of the image, in pixels; a frame has ``batch`` of them. A chip with a descriptor unit
    needs ``descriptors``, those of training photographs (or their file), made with this network, size,
    pooling and whitening; ``whitening``, with which they were made, of mode "after"; and ``threshold``, that
    of the bits, "median" or "mean" (None: as the codes of the descriptors have, or else "median"). With
    ``force`` an output of another run in the folder is replaced too. Raises InputError, in which case nothing
    is written.
    """
    if threshold is not None and threshold not in THRESHOLDS:
        raise InputError(f"threshold {threshold!r}; allowed: {', '.join(THRESHOLDS)}")
    if whitening is not None and descriptors is None:
        raise InputError(f"whitening {_label(whitening)}; allowed: with --descriptor")
    if threshold is not None and descriptors is None:
        raise InputError(f"threshold {threshold}; allowed: with --descriptor")
    loaded, (height, width) = find_network(network), height_width(size)
    constants, inner = None, ()
    if descriptors is not None:
        constants, inner = _trained(loaded, height, width, descriptors, whitening, threshold)
    return write_export(loaded, find_config(config), height, width, Path(folder), constants,
                        images=batch, inner=inner, force=force)


def _trained(
    network: CompressedNetwork, height: int, width: int, descriptors: Descriptors | str | Path,
    whitening: Whitening | str | Path | None, threshold: str | None = None,
) -> tuple[DescriptorConstants, tuple[int, ...]]:
    """The constants of the descriptor unit, and the layers whose maps it pools besides the last one's."""
    given = descriptors if isinstance(descriptors, Descriptors) else load_descriptors(descriptors)
    white = load_whitening(whitening) if isinstance(whitening, str | Path) else whitening
    name = _label(descriptors)
    constants = trained_constants(network, given, name, height, width, white, threshold)
    shapes = [layer.shape for layer in network.layers]
    return constants, pooled_layers(network.name, shapes, parse_maps(given.settings.maps))[:-1]


def fit_config(
    network: Network, config: Config = "edge", size: Size = 224, *,
    descriptors: Descriptors | str | Path | None = None, pooling: str | None = None,
    pool_maps: Sequence[str] = (), whitening: Whitening | str | Path | None = None,
    progress: Progress | None = None,
) -> FittedConfig:
    """``config`` with the smallest memories with which a frame takes no more cycles: with one word less in
    any of them the network is refused, or slower.

    Feature memory and partial sums, which trade words for cycles, are at most those of ``config``; ROMs and
    the widest row are what the network asks for.

    Parameters: size: of the image, pixels; for a chip with a descriptor unit, which is fitted too: either
    descriptors, those of training photographs (or their file) as ``export_network`` takes them, or pooling, a
    preset, and pool_maps, the layers or blocks whose maps are pooled (none: the last); whitening: of mode
    "after". Raises InputError where the network does not fit ``config``.
    """
    if descriptors is not None and pooling is not None:
        raise InputError(f"pooling {pooling} with training {_label(descriptors)}; allowed: one of them")
    if pool_maps and pooling is None:
        raise InputError(f"maps {SEPARATOR.join(pool_maps)}; allowed: with a pooling")
    if whitening is not None and descriptors is None and pooling is None:
        raise InputError(f"whitening {_label(whitening)}; allowed: with training descriptors or a pooling")
    loaded, base, (height, width) = find_network(network), find_config(config), height_width(size)
    with (progress or silent)("fitting memories", None):
        constants, inner = None, ()
        if descriptors is not None:
            constants, inner = _trained(loaded, height, width, descriptors, whitening)
        elif pooling is not None:
            constants, inner = _untrained(loaded, height, width, pooling, pool_maps, whitening)
        fitted = fit_memories(loaded, base, height, width, inner=inner)
        if constants is not None:
            fitted = fit_descriptor(fitted, constants)
    return FittedConfig(fitted.with_options(name=fitted_name(base)), base, loaded.name, height, width)


def _untrained(
    network: CompressedNetwork, height: int, width: int, pooling: str, pool_maps: Sequence[str],
    whitening: Whitening | str | Path | None,
) -> tuple[DescriptorConstants, tuple[int, ...]]:
    """As ``_trained``, the constants as large as trained ones, those of a code with fewer or more bits than
    dimensions aside."""
    options = DescriptorOptions(size=(height, width), pooling=pooling, whitening=whitening,
                                pool_maps=tuple(pool_maps))
    describer = make_describer(network, options)
    quantiser = plain_quantiser(describer.dimension, describer.whitening is not None)
    layers = pooled_layers(network.name, [layer.shape for layer in network.layers], pool_maps)
    maps = map_shapes(network, layers, height, width)
    return joined_constants(maps, describer.chain, quantiser, describer.whitening), layers[:-1]


def _label(value: object) -> str:
    """The value's name in error messages."""
    return str(value) if isinstance(value, str | Path) else type(value).__name__.lower()


@dataclass(frozen=True)
class VerilogReport:
    """The files that were written.

    ``files`` are those of Verilog, the top module last, as in ``file_list``. ``integration`` is what goes
    with a chip: a FuseSoC core, constraints, descriptions of the registers, scripts, and with ``roms`` the
    ROM images and a test bench. ``top`` is the name of the top module, ``core`` that of the FuseSoC core, ""
    for an engine. ``lines`` is the number of lines of Verilog. ``config_file`` holds the configuration, if it
    was fitted to a network.
    """

    folder: Path
    files: tuple[Path, ...]
    integration: tuple[Path, ...]
    file_list: Path
    top: str
    core: str
    lines: int
    config: EngineConfig
    config_file: Path | None = None


def write_verilog(
    folder: str | Path, config: Config = "edge", *, top: str = "engine", descriptor: bool = False,
    startup_check: bool = False, prefix: str = DEFAULT, roms: str | Path | None = None,
    picture: Pictures = "random:1", source_lines: bool = False,
    force: bool = False, progress: Progress | None = None,
) -> VerilogReport:
    """Writes an engine's Verilog, or a chip's: one file for each module, and a file list.

    ``folder`` is written; it must be new, empty or written before with the same settings. A ``config`` that
    is fitted to a network is written too, as a file for ``load_config``. ``top`` is "engine", or "chip" for
    the engine with everything around it. With ``descriptor`` the chip has a descriptor unit; with
    ``startup_check`` it checks its ROMs after every reset. The names of all modules and files begin with
    ``prefix``, so that two chips can stand in one design. ``roms`` is an export for this configuration: its
    images go with a chip, and with them a test bench, which sends ``picture``. With ``source_lines`` comments
    name the lines of Python that declarations and instances come from. With ``force`` an output of another
    run in the folder is replaced too. Raises InputError, in which case nothing is written.
    """
    fitted = config if isinstance(config, FittedConfig) else None
    chosen, output = find_config(config), Path(folder)
    check_top(top)
    options = (("descriptor", descriptor), ("startup-check", startup_check), ("roms", roms is not None))
    for option, given in options:
        if given and top == "engine":
            raise InputError(f"{option} with top engine; allowed: with top chip")
    names = Names(prefix)
    origin = Origin("Verilog", {"config": asdict(chosen), "top": top, "descriptor": descriptor,
                                "startup check": startup_check, "prefix": prefix,
                                "source lines": source_lines,
                                "roms": None if roms is None else str(roms),
                                "picture": None if roms is None else _label(picture)})
    check_output_directory(output, origin, force=force)
    others: tuple[VerilogFile, ...] = ()
    core = ""
    with (progress or silent)("generating Verilog", None):
        if top == "chip":
            chip = ChipConfig(chosen, descriptor_unit(chosen) if descriptor else None, startup_check)
            contents = None if roms is None else chip_contents(chip, Path(roms), picture)
            made = package(chip, names, contents, sources=source_lines)
            files, others, core = made.rtl, made.others, made.core
        else:
            files = tuple(names.renamed(file) for file in engine_files(chosen, sources=source_lines))
    with atomic_directory(output, origin, force=force) as temporary:
        for file in (*files, *others):
            (temporary / file.name).write_text(file.text, encoding="utf-8")
        (temporary / FILE_LIST).write_text("".join(f"{file.name}\n" for file in files), encoding="utf-8")
        if fitted is not None:
            (temporary / CONFIG_FILE).write_text(fitted.text, encoding="utf-8")
    return VerilogReport(
        output, tuple(output / file.name for file in files), tuple(output / file.name for file in others),
        output / FILE_LIST, names.module(WRAPPER if top == "chip" else "engine"), core,
        sum(file.text.count("\n") for file in files), chosen, output / CONFIG_FILE if fitted else None,
    )  # fmt: skip
