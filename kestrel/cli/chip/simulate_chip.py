"""``kestrel simulate --top chip``: the whole chip, with the C driver as its host."""

from typing import Any

from rich.console import Console

from kestrel.api.simulation import ChipProof, DescriptorProof
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.estimate.speed import Speed
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.verif.simulate.descriptor import KINDS


def chip_payload(proof: ChipProof, network: CompressedNetwork, config: EngineConfig,
                 size: tuple[int, int]) -> dict[str, Any]:
    """The JSON object of a run that ends in features."""
    reports = proof.frames
    first = reports[0]
    return {
        "top": "chip",
        "network": network.name,
        "network_crc": f"{first.network_crc:08x}",
        "config": config.name,
        "activation_bits": network.activation_bits,
        "height": size[0],
        "width": size[1],
        "images": [
            {
                "image": image,
                "bit_exact": report.bit_exact,
                "values_compared": report.values_compared,
                "mismatches": report.mismatches,
                "cycles": report.cycles,
                "host_cycles": report.host_cycles,
            }
            for image, report in zip(proof.images, reports, strict=True)
        ],
        "bit_exact": proof.bit_exact,
        "values_compared": proof.values_compared,
        "mismatches": proof.mismatches,
        "cycles": first.cycles,
        "model_cycles": first.model_cycles,
        "cycles_as_modelled": proof.cycles_as_modelled,
        "counters": first.counters,
        "driver_calls": [{"call": call, "result": result} for call, result in first.calls],
        "build_seconds": proof.build_seconds,
        "sim_seconds": sum(report.seconds for report in reports),
    }


def show_chip(console: Console, payload: dict[str, Any], speed: Speed) -> None:
    """Prints the payload for people to read."""
    console.print(
        f"{payload['network']} (CRC {payload['network_crc']}) on a chip of configuration "
        f"{payload['config']}, {payload['height']} x {payload['width']}"
    )
    for frame in payload["images"]:
        console.print(
            f"{frame['image']}: {frame['values_compared']:,} features, {frame['mismatches']:,} mismatches; "
            f"{frame['cycles']:,} cycles, {frame['host_cycles']:,} from the driver's call to the last byte"
        )
    console.print(f"closed form: {payload['model_cycles']:,} cycles")
    console.print(f"speed: {speed}", highlight=False)
    spent = ", ".join(f"{name} {cycles:,}" for name, cycles in payload["counters"].items() if cycles)
    console.print(f"the chip's counters, in cycles: {spent}")
    calls = ", ".join(f"{row['call']} {row['result']}" for row in payload["driver_calls"])
    console.print(f"the C driver's calls: {calls}")
    good = payload["bit_exact"] and payload["cycles_as_modelled"]
    verdict = "bit-exact" if payload["bit_exact"] else "NOT bit-exact"
    counted = "as modelled" if payload["cycles_as_modelled"] else "NOT as modelled"
    console.print(f"verdict: {verdict}, cycles {counted}", style="bold green" if good else "bold red")


def descriptor_payload(proof: DescriptorProof, network: CompressedNetwork, config: EngineConfig,
                       options: DescriptorOptions) -> dict[str, Any]:
    """The JSON object of a run that ends in descriptors."""
    reports = proof.all_reports
    first = reports[0]
    rows: list[dict[str, Any]] = [
        {
            "image": image,
            "float_cosine": cosine,
            **{
                kind: {
                    "bit_exact": report.bit_exact,
                    "found": report.found.hex(),
                    "expected": report.expected.hex(),
                    "frames": report.frames,
                    "cycles": report.cycles,
                    "model_cycles": report.model_cycles,
                    "descriptor_unit_cycles": report.descriptor_cycles,
                    "share_of_descriptor_unit": sum(report.descriptor_cycles) / sum(report.cycles),
                    "counters_of_last_frame": report.counters,
                }
                for kind, report in found.items()
            },
        }
        for image, cosine, found in zip(proof.images, proof.float_cosines, proof.reports, strict=True)
    ]
    return {
        "top": "chip",
        "network": network.name,
        "config": config.name,
        "activation_bits": network.activation_bits,
        "height": options.height,
        "width": options.width,
        "pooling": options.pooling,
        "crops": proof.crops,
        "rotations": options.rotations,
        "whitening": proof.whitening,
        "regions": proof.regions,
        "dimensions": proof.dimensions,
        "frame_cycles_with_features": proof.frame_cycles,
        "images": rows,
        "bit_exact": proof.bit_exact,
        "cycles_as_modelled": proof.cycles_as_modelled,
        "driver_calls": [{"call": call, "result": result} for call, result in first.calls],
        "build_seconds": proof.build_seconds,
        "sim_seconds": sum(report.seconds for report in reports),
    }


def show_descriptors(console: Console, payload: dict[str, Any], speed: Speed) -> None:
    """Prints the payload for people to read."""
    console.print(
        f"{payload['network']} on a chip of configuration {payload['config']}: {payload['pooling']} "
        f"({payload['crops']}, {payload['rotations']} rotations), {payload['regions']} regions of a map, "
        f"{payload['dimensions']} dimensions"
    )
    for row in payload["images"]:
        for kind in KINDS:
            result = row[kind]
            total, unit = sum(result["cycles"]), sum(result["descriptor_unit_cycles"])
            console.print(
                f"{row['image']}: {kind} {'bit-exact' if result['bit_exact'] else 'DIFFER'}, "
                f"{result['frames']} frames, {total:,} cycles, "
                f"of which the descriptor unit {unit:,} ({unit / total:.2%})"
            )
        console.print(f"{row['image']}: cosine to the float chain {row['float_cosine']:.7f}")
    console.print(f"speed: {speed.milliseconds:,.3f} ms a descriptor, {speed.pictures_per_second:,.1f} "
                  f"pictures/s at {speed.clock_mhz:g} MHz", highlight=False)
    good = payload["bit_exact"] and payload["cycles_as_modelled"]
    verdict = "descriptors equal the reference's" if payload["bit_exact"] else "descriptors DIFFER"
    counted = "as modelled" if payload["cycles_as_modelled"] else "NOT as modelled"
    console.print(f"verdict: {verdict}, cycles {counted}", style="bold green" if good else "bold red")
