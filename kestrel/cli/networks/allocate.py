"""``kestrel allocate``: mask bits of every layer for a size or a distortion."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kestrel.cli.networks.compress import parse_size
from kestrel.cli.options import compress as options
from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.sw.allocate.allocate import (
    DEFAULT_ROUNDS,
    DEFAULT_TRIALS,
    Allocation,
    Allocator,
    MeasuredPlan,
    Target,
    front_loaded,
)
from kestrel.sw.allocate.costs import Costs
from kestrel.sw.allocate.measure import Distortion, Gauge, in_memory
from kestrel.sw.allocate.plot import PLOT_SUFFIXES, plot_allocation
from kestrel.sw.allocate.search import Plan, plan_text
from kestrel.sw.common.files import atomic_write, check_output
from kestrel.sw.compress.calibrate import DEFAULT_PERCENTILE, CalibrationPictures, folder_pictures
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.model.network import NetworkShape, parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import load_weights, parse_seed

PICTURES_MAX = 1024


def allocate(
    weights: Annotated[str, typer.Argument(help="Float weights, as for compress, or random:SEED.")],
    calibrate: Annotated[Path, typer.Option(help="Folder of photographs to measure on.")],
    network: Annotated[
        str, typer.Option(help="Network: vgg16, a cut (vgg16:pool3), a width (vgg16/8).")
    ] = "vgg16",
    bits_per_weight: Annotated[
        float | None, typer.Option(help="Target: most stored bits a weight, scalars included.")
    ] = None,
    size: Annotated[int | None, typer.Option("--bytes", help="Target: most bytes of masks, scalars.")] = None,
    size_of: Annotated[
        str | None, typer.Option(metavar="PLAN", help="Target: the size of these mask bits, as 3*7,1*6.")
    ] = None,
    cosine: Annotated[
        float | None, typer.Option(help="Target: least mean cosine of descriptors to the float network.")
    ] = None,
    mask_widths: Annotated[
        str | None, typer.Option(help="Mask bits to choose from; else all that --max-cycles can afford.")
    ] = None,
    max_cycles: Annotated[
        float, typer.Option(help="Most cycles, relative to one pass a layer; 4 and 5 bits take 2 and 3.")
    ] = 1.0,
    fit: Annotated[
        str, typer.Option(help="Fitting rule: least-squares, output, vendor or paper.")
    ] = "least-squares",
    fill_missing: options.FillMissingOption = None,
    activation_bits: options.ActivationBitsOption = 8,
    preprocessing: options.PreprocessingOption = "torchvision",
    pictures: Annotated[int, typer.Option(help="Photographs of the folder used, spread evenly.")] = 16,
    calibration_size: options.CalibrationSizeOption = "112x112",
    percentile: options.PercentileOption = DEFAULT_PERCENTILE,
    rounds: Annotated[
        int, typer.Option(help="Most times sensitivities are measured again.")
    ] = DEFAULT_ROUNDS,
    trials: Annotated[
        int, typer.Option(help="Most plans near the best one that are tried.")
    ] = DEFAULT_TRIALS,
    compare: Annotated[
        list[str] | None, typer.Option(metavar="PLAN", help="Mask bits to measure too; repeatable.")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Folder of other photographs, on which plans are measured again.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot of size and distortion to write (.svg, .png).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Choose mask bits layer by layer, for a size or a distortion, from measured sensitivities.

    The result is for `kestrel compress --mask-bits`. It is compared with the largest plan of no greater size
    that gives 3 bits to the first layers and 1 bit to the others.
    """
    shape = parse_network(network)
    height, width = parse_size(calibration_size)
    if not 1 <= pictures <= PICTURES_MAX:
        raise InputError(f"pictures {pictures}; allowed: 1..{PICTURES_MAX}")
    widths = _widths(mask_widths, max_cycles)
    plans = [_plan(text, shape, widths) for text in compare or ()]
    if plot is not None:
        if plot.suffix not in PLOT_SUFFIXES:
            raise InputError(f"plot {plot}: suffix {plot.suffix!r}; allowed: {', '.join(PLOT_SUFFIXES)}")
        check_output(plot)
    _check_target({"--bits-per-weight": bits_per_weight, "--bytes": size, "--size-of": size_of,
                   "--cosine": cosine})
    like = _plan(size_of, shape, widths) if size_of is not None else None
    fill_seed = None if fill_missing is None else parse_seed(fill_missing, "--fill-missing")
    step = min(find_preprocessing(preprocessing).scale)
    floats = load_weights(weights, shape, step, fill_seed)
    for remark in floats.origin.remarks:
        note(f"kestrel: {weights}: {remark}")
    chosen = in_memory(folder_pictures(calibrate, height, width), pictures)
    others = None if held_out is None else in_memory(folder_pictures(held_out, height, width), pictures)

    allocator = Allocator(floats, chosen, preprocessing=preprocessing, widths=widths, fit=fit,
                          activation_bits=activation_bits, percentile=percentile, progress=progress)
    costs = allocator.costs
    bits = (int(bits_per_weight * costs.weights) if bits_per_weight is not None
            else size * 8 if size is not None else costs.bits(like) if like is not None else None)
    allocation = allocator.find(Target(bits, cosine, max_cycles), rounds, trials)
    paper = _paper(shape, costs, allocation.found.bits if bits is None else bits)
    wanted: list[Plan] = [plan for plan in (paper, like, *plans) if plan is not None]
    plans = [plan for plan in dict.fromkeys(wanted) if plan != allocation.found.plan]
    with progress("comparing", len(plans) + 1) as advance:
        compared = []
        for plan in plans:
            compared.append(allocator.measured(plan))
            advance(1)
        seen = _measure_held_out(allocator, [allocation.found, *compared], preprocessing, others)
        advance(1)
    if plot is not None:
        with atomic_write(plot) as temporary:
            plot_allocation(allocation, compared, costs.weights, f"{network}, {fit}", temporary)
    payload = _payload(allocator, allocation, compared, seen) | {
        "weights": weights, "network": network, "fit": fit, "activation_bits": activation_bits,
        "preprocessing": preprocessing, "calibration": str(calibrate), "held_out": held_out, "plot": plot,
        "calibration_pictures": len(chosen.names), "calibration_size": [height, width],
        "held_out_pictures": 0 if others is None else len(others.names),
    }
    emit(payload, lambda console: _show(console, payload), json)


def _check_target(targets: dict[str, Any]) -> None:
    given = [name for name, value in targets.items() if value is not None]
    if len(given) != 1:
        raise InputError(f"targets given: {', '.join(given) or 'none'}; "
                         f"allowed: one of {', '.join(targets)}")
    for name, value in targets.items():
        if isinstance(value, int | float) and not 0 < value < 1 << 40:
            raise InputError(f"{name} {value:g}; allowed: above 0")


def _widths(text: str | None, max_cycles: float) -> tuple[int, ...]:
    """The widths to choose from. Raises InputError for text that is no list of them."""
    if text is None:
        return tuple(MASK_BITS) if max_cycles > 1 else (1, 2, 3)
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"mask widths {text!r}; allowed: {MASK_BITS[0]}..{MASK_BITS[-1]}, "
                         "as in 1,2,3") from None


def _plan(text: str, shape: NetworkShape, widths: Sequence[int]) -> Plan:
    plan = parse_mask_plan(text, shape)
    if not set(plan) <= set(widths):
        raise InputError(f"mask bits {text!r}; allowed here: {', '.join(map(str, sorted(widths)))}, "
                         "the widths to choose from")
    return plan


def _paper(shape: NetworkShape, costs: Costs, bits: int) -> Plan | None:
    """3 bits first, 1 bit later: the largest such plan of at most ``bits``."""
    widths = {choice.mask_bits for choice in costs.choices[0]}
    if not {1, 3} <= widths:
        return None
    plans = [front_loaded(shape, 3, 1, count) for count in range(len(shape.layers) + 1)]
    return max((plan for plan in plans if costs.bits(plan) <= bits), key=costs.bits, default=None)


def _measure_held_out(allocator: Allocator, plans: Sequence[MeasuredPlan], preprocessing: str,
                      others: CalibrationPictures | None) -> dict[Plan, Distortion]:
    if others is None:
        return {}
    gauge = Gauge(allocator.network, preprocessing, others)
    return {m.plan: gauge.measure(allocator.integers.compress(m.plan)) for m in plans}


def _payload(allocator: Allocator, allocation: Allocation, compared: Sequence[MeasuredPlan],
             seen: dict[Plan, Distortion]) -> dict[str, Any]:
    costs, sensitivity = allocator.costs, allocator.sensitivity

    def described(measured: MeasuredPlan) -> dict[str, Any]:
        result = {
            "mask_bits": plan_text(measured.plan), "bits": measured.bits, "bytes": -(-measured.bits // 8),
            "bits_per_weight": measured.bits / costs.weights, "cycles": measured.cycles,
            "predicted": measured.predicted, "masks_only": measured.masks_only,
            "cosine": measured.distortion.cosine, "cosine_lowest": 1 - measured.distortion.highest,
        }
        if measured.plan in seen:
            other = seen[measured.plan]
            result |= {"cosine_held_out": other.cosine, "cosine_held_out_lowest": 1 - other.highest}
            if measured.plan != allocation.found.plan:
                nearer = seen[allocation.found.plan].values
                result["held_out_worse"] = sum(
                    mine > found for mine, found in zip(other.values, nearer, strict=True))
        return result

    return {
        **described(allocation.found), "search_alone": described(allocation.first), "tried": allocation.tried,
        "compared": [described(measured) for measured in compared],
        "layers": [
            {"name": layer.name, "mask_bits": width,
             "choices": [{"mask_bits": choice.mask_bits, "bits": choice.bits, "cycles": choice.cycles,
                          "distortion": sensitivity.descriptor[n][choice.mask_bits],
                          "output_noise": sensitivity.output[n][choice.mask_bits]}
                         for choice in costs.choices[n]]}
            for n, (layer, width) in enumerate(
                zip(allocator.network.shape.layers, allocation.found.plan, strict=True))
        ],
        "front": [{"mask_bits": plan_text(point.plan), "bits": point.bits, "distortion": point.distortion}
                  for point in allocation.front],
    }  # fmt: skip


def _show(console: Console, found: dict[str, Any]) -> None:
    widths = [choice["mask_bits"] for choice in found["layers"][0]["choices"]]
    table = Table("layer", *(f"{width} bit{'s' * (width > 1)}" for width in widths), "chosen",
                  title=f"{found['network']}, {found['fit']}: 1 - cosine, this layer alone compressed")
    for column in table.columns[1:]:
        column.justify = "right"
    for layer in found["layers"]:
        table.add_row(layer["name"], *(f"{choice['distortion']:.5f}" for choice in layer["choices"]),
                      str(layer["mask_bits"]))
    console.print(table)
    held_out = "cosine_held_out" in found
    table = Table("mask bits", "bytes", "bits a weight", "cycles", "cosine", *(["held out"] * held_out),
                  title=f"in integers, {found['calibration_pictures']} photographs")
    for column in table.columns[1:]:
        column.justify = "right"
    for plan in [found, *found["compared"]]:
        table.add_row(plan["mask_bits"], f"{plan['bytes']:,}", f"{plan['bits_per_weight']:.3f}",
                      f"{plan['cycles']:.2f}", f"{plan['cosine']:.5f}",
                      *([f"{plan['cosine_held_out']:.5f}"] if held_out else []))
    console.print(table)
    console.print(f"kestrel compress --mask-bits '{found['mask_bits']}'", highlight=False, soft_wrap=True)
