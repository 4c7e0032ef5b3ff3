"""``kestrel report design``: one page of one chip, or of two side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kestrel.api.designs import design as make_design
from kestrel.api.designs import report_design
from kestrel.cli.chip.estimate import estimate_payload
from kestrel.cli.options import planned
from kestrel.cli.options.clock import DEFAULT_CLOCK, ClockOption
from kestrel.cli.options.config import ConfigOption, SetOption, Top, chosen_config
from kestrel.cli.options.maps import PoolMapsOption
from kestrel.cli.options.size import METAVAR, BatchOption, SizeOption
from kestrel.cli.output import JsonOption, command_line, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Among, Given, When
from kestrel.cli.rules.outputs import FileOutput, ForceOption
from kestrel.sw.common.kinds import DESIGN_PAGE
from kestrel.sw.design.design import Design
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.describe.maps import parse_maps

OTHER_NAMED = (Given("against"), When(lambda values: not _is_file(values["against"]),
                                      "with a network file, which has its own", "with a network's name"))


def _is_file(network: str | None) -> bool:
    return not planned.NAMED_ONLY.holds({"network": network})


@declares(
    "config settings size batch pool_maps clock device top fit allocation output against",
    writes={"output": FileOutput(DESIGN_PAGE, (".html",))},
    effects={
        "mask_bits": planned.NAMED_ONLY,
        "pooling": Among("top", Top.CHIP),
        "descriptors": Given("dataset"),
        "dataset": Given("descriptors"),
        "protocol": Given("dataset"),
        "against_config against_settings against_size against_batch": Given("against"),
        "against_mask_bits": OTHER_NAMED,
        "against_descriptors": (Given("against"), Given("dataset")),
    },
)
def design(
    network: planned.FileOrNameArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Page to write (.html).")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    size: SizeOption = "224",
    batch: BatchOption = 1,
    clock: ClockOption = DEFAULT_CLOCK,
    device: planned.DeviceOption = None,
    top: planned.EstimatedTopOption = Top.ENGINE,
    mask_bits: planned.NamedMaskBitsOption = None,
    pool_maps: PoolMapsOption = None,
    fit: planned.FitMemoriesOption = False,
    pooling: planned.DescribedOption = None,
    allocation: Annotated[
        Path | None, typer.Option(help="What `kestrel allocate --json` printed: sensitivities of the layers.")
    ] = None,
    descriptors: Annotated[
        Path | None, typer.Option(help="Descriptors of the data set, from `kestrel describe`.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder of the benchmark that the descriptors are of.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="Its rules, as of `kestrel evaluate`.")] = "groups",
    against: Annotated[
        str | None, typer.Option(metavar="NETWORK", help="Second design, beside the first; as NETWORK.")
    ] = None,
    against_config: Annotated[
        str | None, typer.Option(help="Its configuration; default: that of the first.")
    ] = None,
    against_settings: Annotated[
        list[str] | None,
        typer.Option("--against-set", metavar="NAME=VALUE", help="Change a field of it; default: as --set."),
    ] = None,
    against_size: Annotated[
        str | None, typer.Option(metavar=METAVAR, help="Size of its image; default: that of the first.")
    ] = None,
    against_batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures in its frame; default: as --batch.")
    ] = None,
    against_mask_bits: Annotated[
        str | None, typer.Option(help="Its mask bits, if it is given by name; default: as --mask-bits.")
    ] = None,
    against_descriptors: Annotated[
        Path | None, typer.Option(help="Its descriptors of the same data set.")
    ] = None,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Write one page of a chip: architecture, layers, memory, area, energy; or of two side by side.

    Without synthesis, as `kestrel estimate` does it; retrieval and sensitivities where they are given. The
    clock, the device, the top, --fit and --pooling are those of both designs.
    """
    common: dict[str, Any] = {
        "clock_mhz": clock, "device": device, "top": top.value, "pool_maps": parse_maps(pool_maps),
        "fit": fit, "pooling": pooling, "protocol": protocol, "command": command_line(), "progress": progress,
    }  # fmt: skip
    first = make_design(
        network, chosen_config(config, settings), parse_size(size), mask_bits=mask_bits, batch=batch,
        allocation=allocation, descriptors=descriptors, dataset=dataset, **common,
    )  # fmt: skip
    second = None
    if against is not None:
        # Fields of the first configuration are those of a second one of the same name alone.
        inherited = settings if against_config is None else None
        other = chosen_config(against_config or config, against_settings or inherited)
        bits = against_mask_bits or (None if _is_file(against) else mask_bits)
        second = make_design(
            against, other, parse_size(against_size or size), mask_bits=bits, batch=against_batch or batch,
            descriptors=against_descriptors, dataset=dataset if against_descriptors else None, **common,
        )  # fmt: skip
    page = report_design(output, first, second)
    payload = {
        "designs": [_payload(each) for each in (first, second) if each is not None], "page": page,
    }  # fmt: skip

    def human(console: Console) -> None:
        for each in (first, second):
            if each is not None:
                console.print(f"{each.label}: {each.estimate.speed}", highlight=False)
        console.print(f"written: {page}", highlight=False)

    emit(payload, human, json)


def _payload(found: Design) -> dict[str, Any]:
    about = found.provenance
    retrieval = found.retrieval
    return {
        **estimate_payload(found.estimate), "network_hash": about.network_hash, "version": about.version,
        "date": about.date, "map": None if retrieval is None else retrieval.map,
    }  # fmt: skip
