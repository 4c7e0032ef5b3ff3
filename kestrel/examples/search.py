"""Photograph in, nearest photographs out, through the simulated chip.

    python -m kestrel.examples.search net.safetensors photographs/ query.jpg [--config nano] [--pooling nip]

What a device with the chip would do, in three steps:

1. The photographs of a collection are described in integers by the reference, and their bytes indexed. The
   range of a byte is learned from them.
2. The chip, with a ROM made for that range and the C driver as its host, gets a photograph and sends bytes.
3. The index is searched with these bytes as they are; no vector is ever computed on the host.

The reference describes the photograph too: its bytes, and so the photographs found, must be the same. Exit
code 1 if they are not.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import kestrel
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.registers import DESCRIPTOR_BYTES
from kestrel.sw.pictures.images import list_images, open_image
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.describe.extract import POOLINGS
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser, from_bytes
from kestrel.verif.simulate.descriptor import DescriptorReport, DescriptorSimulation


@dataclass(frozen=True)
class Answer:
    """What came of a photograph: the chip's frames and bytes, and what both found with theirs."""

    report: DescriptorReport
    found: kestrel.Result
    expected: kestrel.Result

    @property
    def bit_exact(self) -> bool:
        return self.report.bit_exact and self.found == self.expected and len(self.found.matches) > 0


class ChipSearch:
    """An index of a collection and the chip that its queries go through. ``descriptor``: the chip's unit
    (None: the configuration's own). Raises InputError for a network or options that the chip cannot do."""

    def __init__(
        self, network: kestrel.CompressedNetwork, config: kestrel.EngineConfig, collection: Sequence[Path],
        options: kestrel.DescriptorOptions, descriptor: DescriptorConfig | None = None,
    ) -> None:  # fmt: skip
        names = [path.name for path in collection]
        learned = kestrel.describe(network, collection, options, names=names)
        self.quantiser = fit_quantiser(learned.vectors, source=f"{len(names)} photographs")
        self.simulation = DescriptorSimulation(network, config, options, quantiser=self.quantiser,
                                               descriptor=descriptor)
        codes = [self.simulation.reference(open_image(path), DESCRIPTOR_BYTES) for path in collection]
        coded = kestrel.encode(learned, "bytes", self.quantiser)
        self.index = kestrel.build_index(replace(coded, vectors=self._decoded(codes)),
                                         kestrel.IndexOptions(codes="bytes"))

    def ask(self, name: str, rgb: np.ndarray, count: int = 5, seed: int = 1) -> Answer:
        """The ``count`` nearest of a photograph, uint8 RGB [H, W, 3]. Raises SimulationError."""
        report = self.simulation.run(rgb, "bytes", seed=seed)
        both = self._decoded([report.found, report.expected])
        found, expected = kestrel.search(self.index, both, count, names=(name, name))
        return Answer(report, found, expected)

    def _decoded(self, codes: Sequence[bytes]) -> np.ndarray:
        """What the index's bytes stand for: it makes the same bytes of it again."""
        return from_bytes(np.stack([np.frombuffer(code, np.uint8) for code in codes]), self.quantiser)


def answer_row(name: str, answer: Answer) -> dict[str, object]:
    """For ``--json``."""
    return {
        "query": name,
        "bit_exact": answer.bit_exact,
        "descriptor": answer.report.found.hex(),
        "frames": answer.report.frames,
        "cycles": sum(answer.report.cycles),
        "matches": [{"name": match.name, "score": match.score} for match in answer.found.matches],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("network", type=Path, help="compressed network (.safetensors)")
    add("collection", type=Path, help="folder of photographs to search")
    add("queries", type=Path, nargs="+", help="photographs")
    add("--config", default="nano", help="of the chip: a name or a .toml file (default: nano)")
    add("--pooling", default="nip", help=f"one of {', '.join(POOLINGS)} (default: nip)")
    add("--whitening", type=Path, help="whitening file of mode after")
    add("--size", default="64", help="of a crop, pixels: a side, or HEIGHTxWIDTH (default: 64)")
    add("-n", "--count", type=int, default=5, help="photographs wanted (default: 5)")
    add("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        queries = [(path.as_posix(), open_image(path)) for path in arguments.queries]
        options = kestrel.DescriptorOptions(size=parse_size(arguments.size), pooling=arguments.pooling,
                                            whitening=arguments.whitening)
        chip = ChipSearch(
            kestrel.load_network(arguments.network), kestrel.load_config(arguments.config),
            list_images(arguments.collection), options,
        )  # fmt: skip
        answers = [(name, chip.ask(name, rgb, arguments.count)) for name, rgb in queries]
    except kestrel.InputError as error:
        parser.error(str(error))
    except kestrel.SimulationError as error:
        parser.exit(1, f"{error}\n")
    bit_exact = all(answer.bit_exact for _, answer in answers)
    if arguments.json:
        rows = [answer_row(*answer) for answer in answers]
        print(json.dumps({"indexed": len(chip.index), "bit_exact": bit_exact, "queries": rows}, indent=2))
        return int(not bit_exact)
    for name, answer in answers:
        report = answer.report
        print(f"{name}: {len(report.found)} bytes in {report.frames} frames, {sum(report.cycles):,} cycles; "
              f"{'bit-exact' if answer.bit_exact else 'NOT bit-exact'}")
        for rank, match in enumerate(answer.found.matches, 1):
            print(f"  {rank}  {match.score:.4f}  {match.name}")
    return int(not bit_exact)


if __name__ == "__main__":
    sys.exit(main())
