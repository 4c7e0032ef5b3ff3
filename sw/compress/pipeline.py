"""Compression from end to end: fit masks, measure ranges, fold, prove."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.hw.spec.widths import BIAS_FRACTION, SCALAR_BITS, SCALAR_WIDTHS
from kestrel.sw.compress.activity import Activity, measure_activity
from kestrel.sw.compress.calibrate import (
    DEFAULT_PERCENTILE,
    CalibrationPictures,
    Progress,
    check_percentile,
    measure_ranges,
    silent,
)
from kestrel.sw.compress.dequantise import real_parameters
from kestrel.sw.compress.fit import SEQUENTIAL_RULE, Fit, find_rule, sqnr_db
from kestrel.sw.compress.fold import (
    FoldedLayer,
    InputScale,
    ShortcutInput,
    compressed_network,
    fold_layer,
    image_scale,
    map_scale,
)
from kestrel.sw.compress.layer_fits import LayerFits
from kestrel.sw.compress.refine import Refine
from kestrel.sw.compress.report import CompressionReport, LayerReport, side_bits, weight_count
from kestrel.sw.compress.sequential import SequentialFit
from kestrel.sw.model.bounds import accumulator_range, check_accumulators
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.float_network import check_image_size
from kestrel.sw.model.graph import scale_groups
from kestrel.sw.model.network import IMAGE, source_of
from kestrel.sw.model.preprocessing import Preprocessing, check_activation_bits, find_preprocessing
from kestrel.sw.model.weights import FloatNetwork


def compress(network: FloatNetwork, mask_bits: Sequence[int], pictures: CalibrationPictures, *,
             preprocessing: str, activation_bits: int = 8, fit: str = "least-squares",
             percentile: float = DEFAULT_PERCENTILE, progress: Progress = silent,
             fits: LayerFits | None = None,
             scalar_bits: Sequence[int] | None = None) -> tuple[CompressedNetwork, CompressionReport]:
    """Turns a float network into integers.

    mask_bits: one number a layer, 1 for 1x1 kernels, the owner's where integers are shared; pictures: what
    activation ranges are measured on, by running the float network *with the fitted weights*: these are the
    activations the integers will have, and with few mask bits they are smaller than the original's. fits:
    made before, of this network and rule (not of ``sequential``, whose fits depend on the widths of all
    layers before); scalar_bits: likewise one of SCALAR_WIDTHS a layer, 8 for all if not given.

    Raises InputError for options outside their range, a layer that calibration finds dead, and a network
    whose accumulators could overflow.
    """
    shape = network.shape
    prepared = find_preprocessing(preprocessing)
    find_rule(fit)
    check_activation_bits(activation_bits)
    check_percentile(percentile)
    check_image_size(shape, pictures.height, pictures.width)
    if len(mask_bits) != len(shape.layers) or any(bits not in MASK_BITS for bits in mask_bits):
        raise InputError(f"mask bits {tuple(mask_bits)}; allowed: {MASK_BITS[0]}..{MASK_BITS[-1]} for each "
                         f"of the {len(shape.layers)} layers of {shape.name}")
    for layer, bits in zip(shape.layers, mask_bits, strict=True):
        wanted = 1 if layer.kernel == 1 else bits if layer.shares is None else mask_bits[layer.shares]
        if bits != wanted:
            raise InputError(f"mask bits {bits} for layer {layer.name}; allowed: {wanted}")
    widths = [SCALAR_BITS] * len(mask_bits) if scalar_bits is None else list(scalar_bits)
    if len(widths) != len(shape.layers) or any(bits not in SCALAR_WIDTHS for bits in widths):
        allowed = ", ".join(map(str, SCALAR_WIDTHS))
        raise InputError(f"scalar bits {tuple(widths)}; allowed: {allowed} for each of the "
                         f"{len(shape.layers)} layers of {shape.name}")
    for layer, bits in zip(shape.layers, widths, strict=True):
        if layer.shares is not None and bits != widths[layer.shares]:
            raise InputError(f"scalar bits {bits} for layer {layer.name}; allowed: {widths[layer.shares]}")

    if fit == SEQUENTIAL_RULE:
        sequential = SequentialFit(network, prepared, activation_bits, pictures, percentile)
        calibrated = sequential.run(mask_bits, progress, widths)
        folded, clipped = [c.folded for c in calibrated], [c.range.clipped for c in calibrated]
    else:
        fits = fits or LayerFits(network, prepared, pictures, fit, progress)
        folded, clipped = _fold(fits, mask_bits, widths, prepared, activation_bits, pictures, percentile,
                                progress)
    layers = tuple(replace(f.layer, trained=f.layer.shape.name not in network.untrained) for f in folded)
    result = compressed_network(shape, layers, prepared, activation_bits)
    check_accumulators(result)
    activity = measure_activity(result, prepared, pictures.load(0))

    real = real_parameters(result)
    owners = [layer for layer in shape.layers if layer.shares is None]
    channels = sum(layer.out_channels for layer in owners)
    bias_bits, shift_bits, scale_bits = side_bits(channels, len(owners))
    report = CompressionReport(
        network=shape.name, fit=fit, activation_bits=activation_bits, preprocessing=preprocessing,
        calibration=pictures.source, calibration_pictures=len(pictures.names),
        calibration_size=(pictures.height, pictures.width), percentile=percentile,
        layers=tuple(
            _layer_report(f, layers[n].trained, clipped[n], activity[n], activation_bits,
                          sqnr_db(network.weights[n], real[n][0]))
            for n, f in enumerate(folded)
        ),
        bias_bits=bias_bits, shift_bits=shift_bits, scale_bits=scale_bits,
    )
    return result, report


def _fold(fits: LayerFits, mask_bits: Sequence[int], scalar_bits: Sequence[int], prepared: Preprocessing,
          activation_bits: int, pictures: CalibrationPictures, percentile: float,
          progress: Progress) -> tuple[list[FoldedLayer], tuple[float, ...]]:
    """Layers fitted each for itself and folded, and the share of activations beyond each one's range."""
    network = fits.network
    with progress("fit", len(mask_bits)) as advance:
        found: list[tuple[Fit, Refine]] = []
        for position, bits in enumerate(zip(mask_bits, scalar_bits, strict=True)):
            found.append(fits.get(position, *bits))
            advance(1)
    fitted = replace(network, weights=tuple(f.weights().astype(np.float32) for f, _ in found))
    ranges = measure_ranges(fitted, prepared, pictures, percentile, progress)

    groups = scale_groups(network.shape.layers)
    caps = list(ranges.cap)
    while True:
        folded = _fold_layers(network, found, mask_bits, caps, image_scale(
            prepared, activation_bits, blocks=network.shape.blocks), activation_bits)
        # A range that was raised is raised for all that must have the same, and everything is done again.
        raised = {group: max(f.raised for f, g in zip(folded, groups, strict=True) if g == group)
                  for group in set(groups) if groups.count(group) > 1}
        if all(factor == 1 for factor in raised.values()):
            return folded, ranges.clipped
        caps = [cap * raised.get(group, 1.0) for cap, group in zip(caps, groups, strict=True)]


def _fold_layers(network: FloatNetwork, found: Sequence[tuple[Fit, Refine]], mask_bits: Sequence[int],
                 caps: Sequence[float], image: InputScale, activation_bits: int) -> list[FoldedLayer]:
    """All layers folded with the given ranges; those that share integers have their owners'."""
    shapes = network.shape.layers
    folded: list[FoldedLayer] = []
    for position, (layer, (layer_fit, refine)) in enumerate(zip(shapes, found, strict=True)):
        if layer.shares is not None:
            owner = folded[layer.shares]
            folded.append(replace(owner, layer=replace(owner.layer, shape=layer)))
            continue
        source, shortcut, weight = source_of(shapes, position), None, network.shortcut(position)
        if layer.shortcut is not None and weight is not None:
            shortcut = ShortcutInput(weight.astype(np.float64), folded[layer.shortcut.source].layer.scale)
        folded.append(fold_layer(layer, network.weights[position], network.biases[position], layer_fit,
                                 mask_bits[position], caps[position],
                                 image if source == IMAGE else map_scale(folded[source].layer),
                                 activation_bits, refine, shortcut))
    return folded


def _layer_report(folded: FoldedLayer, trained: bool, clipped: float, activity: Activity,
                  activation_bits: int, sqnr_float_db: float | None) -> LayerReport:
    layer = folded.layer
    low, high = accumulator_range(layer, activation_bits)
    unit = 1 << BIAS_FRACTION
    dead = (layer.alpha == 0) | ~layer.mask.any(axis=(2, 3))
    return LayerReport(
        name=layer.shape.name, trained=trained,
        mask_bits=layer.mask_bits, scalar_bits=layer.scalar_bits, shift=layer.shift,
        sqnr_float_db=sqnr_float_db, sqnr_target_db=folded.sqnr_target_db,
        alpha_max=int(layer.alpha.max(initial=0)), saturated=clipped,
        saturated_biases=folded.saturated_biases,
        bias_min=int(layer.bias.min()) / unit, bias_max=int(layer.bias.max()) / unit,
        kernels=layer.alpha.size, weights=weight_count(layer), dead_kernels=int(dead.sum()),
        dead_channels=int(dead.all(axis=1).sum()), weight_bits=layer.weight_bits,
        scale=layer.scale, range=layer.scale * ((1 << activation_bits) - 1), raised=folded.raised,
        zero_outputs=activity.zero, saturated_outputs=activity.saturated,
        dead_outputs=activity.dead_channels,
        accumulator_bits=max(low.bit_length() if low >= 0 else (~low).bit_length(), high.bit_length()) + 1,
    )
