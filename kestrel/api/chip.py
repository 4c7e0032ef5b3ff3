"""The chip: plan, ROM images and Verilog."""

from dataclasses import dataclass
from pathlib import Path

from kestrel.export.export import ExportReport
from kestrel.export.export import export_network as write_export
from kestrel.hw.emit.integration import integration_files
from kestrel.hw.emit.verilog import CHIP_TOP, TOP, VerilogFile, chip_files, engine_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import load_config
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_directory, check_output_directory
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.model.embedded import EMBEDDED
from kestrel.sw.pictures.sizes import Size, height_width
from kestrel.sw.planning.plan import Plan, make_plan, plan_frame, plan_layers
from kestrel.sw.planning.proof import PlanError, check_plan
from kestrel.sw.planning.report import PlanReport, named_layers, report_plan
from kestrel.sw.retrieval.describe.chip_constants import trained_constants
from kestrel.sw.retrieval.describe.descriptor import Descriptors, load_descriptors
from kestrel.sw.retrieval.describe.whitening import Whitening, load_whitening
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS

FILE_LIST = "files.f"
NETWORK_SUFFIX = ".safetensors"
TOPS = ("engine", "chip")

Network = CompressedNetwork | str | Path
"""In memory, as a file, or ``embedded``, the one that comes along."""

Config = EngineConfig | str | Path
"""An engine's configuration, the name of one, or a .toml file."""


def find_network(network: Network) -> CompressedNetwork:
    """In memory. Raises InputError."""
    return network if isinstance(network, CompressedNetwork) else load_network(network)


def find_config(config: Config) -> EngineConfig:
    """In memory. Raises InputError."""
    return config if isinstance(config, EngineConfig) else load_config(str(config))


@dataclass(frozen=True)
class FramePlan:
    """How a frame goes through an engine. network: its name; plan: strips, order and places; report: cycles
    and memory; flaw: what the proof that no row is lost found wrong, None if it succeeded."""

    network: str
    plan: Plan
    report: PlanReport
    flaw: str | None

    @property
    def proved(self) -> bool:
        return self.flaw is None


def plan(network: Network, config: Config = "edge", size: Size = 224, *,
         mask_bits: str | None = None, progress: Progress | None = None) -> FramePlan:
    """Plans a frame, and replays every visit on a model of the feature memory to prove that no row is lost.

    Parameters: network: compressed, or a name as ``vgg16/8:pool3``, whose ``mask_bits`` are as of
    ``compress`` (None: 3); size: of the image, pixels. Raises InputError for what the configuration cannot
    hold.
    """
    chosen, (height, width) = find_config(config), height_width(size)
    with (progress or silent)("planning", None):
        if isinstance(network, CompressedNetwork) or _is_file(str(network)):
            if mask_bits is not None:
                raise InputError(f"--mask-bits {mask_bits}: {_name(network)} has its own; "
                                 "allowed with a network's name")
            compressed = find_network(network)
            name, layers = compressed.name, plan_layers(compressed)
            made = make_plan(compressed, chosen, height, width)
        else:
            name, layers = str(network), named_layers(str(network), mask_bits or "3")
            made = plan_frame(name, layers, chosen.activation_bits, chosen, height, width)
        return FramePlan(name, made, report_plan(name, layers, made), _flaw(made))


def _is_file(network: str) -> bool:
    return network == EMBEDDED or network.endswith(NETWORK_SUFFIX) or Path(network).is_file()


def _name(network: Network) -> str:
    return network.name if isinstance(network, CompressedNetwork) else str(network)


def _flaw(planned: Plan) -> str | None:
    try:
        check_plan(planned)
    except PlanError as error:
        return str(error)
    return None


def export_network(
    network: Network, folder: str | Path, config: Config = "edge", size: Size = 224, *,
    descriptors: Descriptors | str | Path | None = None, whitening: Whitening | str | Path | None = None,
    threshold: str = "median",
) -> ExportReport:
    """Writes weight ROM, schedule table, C header and manifest.

    Parameters: folder: to write, new, empty or an earlier export; size: of the image, pixels; descriptors:
    for a chip with a descriptor unit, those of training photographs (or their file), made with this network,
    size, pooling and whitening; whitening: theirs, of mode "after"; threshold: of the bits, "median" or
    "mean". Raises InputError; nothing is written then.
    """
    if threshold not in THRESHOLDS:
        raise InputError(f"threshold {threshold!r}; allowed: {', '.join(THRESHOLDS)}")
    if whitening is not None and descriptors is None:
        raise InputError(f"whitening {_label(whitening)}; allowed: with --descriptor")
    loaded, (height, width) = find_network(network), height_width(size)
    constants: DescriptorConstants | None = None
    if descriptors is not None:
        given = descriptors if isinstance(descriptors, Descriptors) else load_descriptors(descriptors)
        white = load_whitening(whitening) if isinstance(whitening, str | Path) else whitening
        constants = trained_constants(loaded, given, _label(descriptors), height, width, white, threshold)
    return write_export(loaded, find_config(config), height, width, Path(folder), constants)


def _label(value: object) -> str:
    """For errors."""
    return str(value) if isinstance(value, str | Path) else type(value).__name__.lower()


@dataclass(frozen=True)
class VerilogReport:
    """What was written. files: of Verilog, the top last, as ``file_list`` lists them; integration: with a
    chip, a wrapper with the usual AXI names, a FuseSoC core, clock constraints and a script for yosys; top:
    the top module; lines: of Verilog."""

    folder: Path
    files: tuple[Path, ...]
    integration: tuple[Path, ...]
    file_list: Path
    top: str
    lines: int
    config: EngineConfig


def write_verilog(
    folder: str | Path, config: Config = "edge", *, top: str = "engine", descriptor: bool = False,
    startup_check: bool = False, source_lines: bool = False, progress: Progress | None = None,
) -> VerilogReport:
    """Writes an engine's Verilog, or a chip's: a file a module, and a file list.

    Parameters: folder: to write, new, empty or written before; top: "engine", or "chip" for what goes round
    it; descriptor: the chip has a descriptor unit; startup_check: the chip checks its ROMs after every reset;
    source_lines: comments name the lines of Python that declarations and instances come from.
    Raises InputError; nothing is written then.
    """
    chosen, output = find_config(config), Path(folder)
    if top not in TOPS:
        raise InputError(f"top {top!r}; allowed: {', '.join(TOPS)}")
    for option, given in (("descriptor", descriptor), ("startup-check", startup_check)):
        if given and top == "engine":
            raise InputError(f"{option} with top engine; allowed: with top chip")
    check_output_directory(output)
    others: tuple[VerilogFile, ...] = ()
    with (progress or silent)("generating Verilog", None):
        if top == "chip":
            chip = ChipConfig(chosen, descriptor_unit(chosen) if descriptor else None, startup_check)
            files = chip_files(chip, sources=source_lines)
            others = integration_files(chip, files)
        else:
            files = engine_files(chosen, sources=source_lines)
    with atomic_directory(output) as temporary:
        for file in (*files, *others):
            (temporary / file.name).write_text(file.text, encoding="utf-8")
        (temporary / FILE_LIST).write_text("".join(f"{file.name}\n" for file in files), encoding="utf-8")
    return VerilogReport(
        output, tuple(output / file.name for file in files), tuple(output / file.name for file in others),
        output / FILE_LIST, CHIP_TOP if top == "chip" else TOP,
        sum(file.text.count("\n") for file in files), chosen,
    )  # fmt: skip
