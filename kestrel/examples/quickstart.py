"""From float weights to a measured search, through the simulated engine: the whole way in a script.

    python -m kestrel.examples.quickstart [FOLDER]

Writes what it makes into FOLDER (default: a temporary one). Most of the time goes into the first build of the
simulator, which is kept. With a network and photographs of your own, replace the steps up to ``network``.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import kestrel


def quickstart(folder: Path) -> dict[str, float]:
    """All steps, with generated scenes and the network that comes along; figures of what came out."""
    scenes = kestrel.write_scenes(folder / "scenes", groups=6, views=3, size=96)
    others = kestrel.write_scenes(folder / "others", groups=16, views=2, size=96, seed=100)  # to learn from
    weights = kestrel.load_weights("random:1", "vgg16/16:pool2")
    small, report = kestrel.compress(weights, others.folder, mask_bits=2, size=32)
    kestrel.save_network(small, folder / "small.safetensors")

    network = kestrel.load_network("embedded")  # or folder / "small.safetensors"
    pictures = kestrel.load_pictures(scenes.folder, size=32)  # uint8 [18, 32, 32, 3]
    maps = kestrel.Reference(network)(kestrel.network_input(network, pictures))  # uint8 [18, 64, 1, 1]

    kestrel.export_network(network, folder / "rom", config="nano", size=32)
    verilog = kestrel.write_verilog(folder / "rtl", config="nano")
    proof = kestrel.simulate(network, pictures[:1], config="nano", size=32)

    options = kestrel.DescriptorOptions(size=64, pooling="nip")
    whitening = kestrel.fit_whitening(network, others.folder, options, dimension=32, mode="after")
    described = kestrel.describe(network, scenes.folder, replace(options, whitening=whitening))
    index = kestrel.build_index(described, kestrel.IndexOptions(codes="bytes"))
    index.save(folder / "scenes.index")
    nearest = kestrel.search(index, described.vectors[:1], count=3)[0]
    evaluation = kestrel.evaluate(scenes.folder, described)

    return {
        "bits a weight": report.bits_per_weight, "share of features above 0": float((maps > 0).mean()),
        "lines of Verilog": verilog.lines, "values compared": proof.values_compared,
        "mismatches": proof.mismatches, "cycles": proof.cycles, "as modelled": proof.cycles_as_modelled,
        "score of the nearest": nearest.matches[0].score, "mAP": evaluation.map,
    }  # fmt: skip


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="kestrel-") as temporary:
        found = quickstart(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
    for name, value in found.items():
        print(f"{name:>26}  {value:g}")
    return int(found["mismatches"] > 0)


if __name__ == "__main__":
    sys.exit(main())
