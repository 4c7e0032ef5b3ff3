"""``kestrel plan``: how a frame goes through an engine, in cycles and memory."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kestrel.api.planning import FramePlan
from kestrel.api.planning import plan as plan_frame
from kestrel.cli.options import planned
from kestrel.cli.options.clock import DEFAULT_CLOCK, ClockOption
from kestrel.cli.options.config import ConfigOption, SetOption, chosen_config
from kestrel.cli.options.maps import PoolMapsOption
from kestrel.cli.options.size import BatchOption, SizeOption
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.outputs import FileOutput, ForceOption
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import plot_kind
from kestrel.sw.estimate.speed import Speed, check_clock
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.planning.memory import MemoryNeeds
from kestrel.sw.planning.plot import PLOT_SUFFIXES, plot_plan
from kestrel.sw.planning.report import PlanReport
from kestrel.sw.retrieval.describe.maps import parse_maps

EXIT_UNPROVED = 1


@declares(
    "config settings size batch pool_maps clock output",
    writes={"output": FileOutput(plot_kind("plan"), PLOT_SUFFIXES)},
    effects={"mask_bits": planned.NAMED_ONLY},
)
def plan(
    network: planned.FileOrNameArgument,
    config: ConfigOption = "edge",
    settings: SetOption = None,
    size: SizeOption = "224",
    batch: BatchOption = 1,
    mask_bits: planned.NamedMaskBitsOption = None,
    pool_maps: PoolMapsOption = None,
    clock: ClockOption = DEFAULT_CLOCK,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Plot of the memory in use to write (.svg, .png).")
    ] = None,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Show strips, order of visits, memory and cycles of a frame, and prove that no row is lost.

    The proof replays every visit on a model of the feature memory. Exit code 1 if it fails.
    """
    chosen = chosen_config(config, settings)
    check_clock(clock)
    found = plan_frame(network, chosen, parse_size(size), mask_bits=mask_bits, batch=batch,
                       pool_maps=parse_maps(pool_maps), progress=progress)
    if output is not None:
        with atomic_write(output) as temporary:
            plot_plan(found.plan, found.report.cycles, found.network, temporary)
    speed = Speed(found.report.cycles.total, found.plan.images, clock)
    payload = _payload(found) | speed.payload | ({"plot": output} if output else {})
    emit(payload, lambda console: _show(console, found, speed), json)
    if not found.proved:
        raise typer.Exit(EXIT_UNPROVED)


def _payload(found: FramePlan) -> dict[str, Any]:
    planned, report = found.plan, found.report
    memory = report.memory
    return {
        "network": found.network,
        "config": planned.config.name,
        "activation_bits": planned.activation_bits,
        "height": planned.height,
        "width": planned.width,
        "batch": planned.images,
        "proved": found.proved,
        "flaw": found.flaw,
        "feature_bytes": memory.feature_bytes,
        "feature_bytes_configured": memory.feature_bytes_configured,
        "feature_parts": [asdict(part) for part in memory.features],
        "image_bytes": report.image_bytes,
        "partial_sum_bytes": memory.partial_sums.used,
        "partial_sum_bytes_configured": memory.partial_sums.configured,
        "pool_line_bytes": memory.pool_line.used,
        "pool_line_bytes_configured": memory.pool_line.configured,
        "weight_rom_bytes": memory.weights.used,
        "weight_rom_bytes_configured": memory.weights.configured,
        "table_words": memory.table_words,
        "table_words_configured": memory.table_words_max,
        "shadow_bits": memory.shadow_bits,
        "visits": len(planned.visits),
        "model_cycles": report.cycles.total,
        "cycles_per_image": report.cycles.total / planned.images,
        "compute_cycles": report.cycles.compute,
        "layer_by_layer_cycles": report.whole_maps.compute,
        "ratio": report.ratio,
        "mac_utilisation": report.mac_utilisation,
        "weights_hidden": report.exposed == 0,
        "exposed_cycles": report.exposed,
        "layers": [asdict(layer) for layer in report.layers],
    }


def _show(console: Console, found: FramePlan, speed: Speed) -> None:
    planned, report = found.plan, found.report
    config = planned.config
    table = Table(
        title=f"{found.network} on {config.name}, {planned.height} x {planned.width}, "
        f"{f'{planned.images} at once, ' if planned.images > 1 else ''}{len(planned.visits)} visits",
        title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False,
    )  # fmt: skip
    table.add_column("layer", no_wrap=True)
    # The table must fit 80 columns. A visit is a strip of rows; a region has a part, a base and slots.
    for column in ("map", "visits\nx rows", "part:base\nx slots", "bytes", "cycles", "streaming", "waiting"):
        table.add_column(column, justify="right", no_wrap=True)
    for layer in report.layers:
        table.add_row(
            layer.name, f"{layer.height}x{layer.width}", f"{layer.visits}x{layer.strip_rows}",
            f"{layer.part}:{layer.base}x{layer.slots}", f"{layer.bytes:,}", f"{layer.cycles:,}",
            f"{layer.streaming:,}", f"{layer.waiting:,}",
        )  # fmt: skip
    table.add_section()
    totals = (report.cycles.compute, *(sum(getattr(layer, kind) for layer in report.layers)
                                       for kind in ("streaming", "waiting")))  # fmt: skip
    table.add_row("all layers", "", "", "", "", *(f"{total:,}" for total in totals))
    console.print(table)
    if any(layer.shortcut for layer in report.layers):
        console.print(_shortcut_table(report))
    console.print(_memory_table(report.memory))
    for layer in report.layers:
        if layer.row_groups:
            console.print(f"{layer.name} computes three rows at once", highlight=False)
    hidden = "all hidden" if report.exposed == 0 else f"exposed for {report.exposed:,} cycles"
    each = f" ({report.cycles.total / planned.images:,.0f} an image)" if planned.images > 1 else ""
    console.print(
        f"cycles: {report.cycles.total:,} a frame{each}, {report.cycles.compute:,} in the layers, "
        f"{report.ratio:.4f} times layer by layer ({report.whole_maps.compute:,}); "
        f"{report.mac_utilisation:.1%} of the array's peak; weight loads {hidden}",
        highlight=False,
    )
    console.print(f"speed: {speed}", highlight=False)
    verdict = "every row is there when it is read" if found.proved else f"PLAN IS WRONG: {found.flaw}"
    console.print(f"verdict: {verdict}", style="bold green" if found.proved else "bold red")


def _shortcut_table(report: PlanReport) -> Table:
    """What each layer with a shortcut reads and adds."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("layer", "reads", "adds", "through", "drains"):
        table.add_column(column, no_wrap=True)
    for layer in report.layers:
        shortcut = layer.shortcut
        if shortcut is not None:
            through = f"1x1/{shortcut.stride}" if shortcut.projection else "as it is"
            table.add_row(layer.name, layer.reads, f"{shortcut.source}, part {shortcut.part}", through,
                          "each group" if shortcut.waits else "no")  # fmt: skip
    return table


def _memory_table(memory: MemoryNeeds) -> Table:
    table = Table("memory", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("used", "configured", "unit"):
        table.add_column(column, justify="right" if column != "unit" else "left")
    sizes = {
        "features, part 0": memory.features[0],
        "features, part 1": memory.features[1],
        "partial sums": memory.partial_sums,
        "line of the pooling": memory.pool_line,
        "weight ROM": memory.weights,
    }
    for name, size in sizes.items():
        table.add_row(name, f"{size.used:,}", f"{size.configured:,}", "bytes")
    both = memory.feature_bytes, memory.feature_bytes_configured
    table.add_row("features, both", f"{both[0]:,}", f"{both[1]:,}", "bytes")
    table.add_row("schedule table", f"{memory.table_words:,}", f"{memory.table_words_max:,}", "32-bit words")
    table.add_row("shadow registers", "", f"{memory.shadow_bits:,}", "bits")
    return table
