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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.cli.options.retrieval import collect_pictures
from kestrel.cli.output import progress
from kestrel.hw.spec.configurations import load_config
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.registers import DESCRIPTOR_BYTES
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.pictures.images import open_image
from kestrel.sw.retrieval.describe.descriptor import Descriptors
from kestrel.sw.retrieval.describe.extract import POOLINGS, make_describer
from kestrel.sw.retrieval.pooling.quantise import Quantiser, fit_quantiser, from_bytes
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.query import Result, search
from kestrel.sw.retrieval.search.structures import Kind
from kestrel.verif.simulate.descriptor import DescriptorReport, DescriptorSimulation
from kestrel.verif.simulate.frame import SimulationError

KIND = Kind("bytes", "flat")


@dataclass(frozen=True)
class Answer:
    """What came of a photograph: the chip's frames and bytes, and what both found with theirs."""

    report: DescriptorReport
    found: Result
    expected: Result

    @property
    def equal(self) -> bool:
        return self.report.equal and self.found == self.expected and len(self.found.matches) > 0


class ChipSearch:
    """An index of a collection and the chip that its queries go through. Raises InputError for a network or
    pooling that the chip cannot do."""

    def __init__(
        self, network: CompressedNetwork, config: EngineConfig, collection: Sequence[tuple[str, Path]],
        height: int, width: int, pooling: str = "nip", whitening: Path | None = None,
        descriptor: DescriptorConfig | None = None,
    ) -> None:  # fmt: skip
        describer = make_describer(network, height=height, width=width, pooling=pooling, whitening=whitening)
        names, paths = zip(*collection, strict=True)
        learned = describer.describe(paths, names)
        self.quantiser: Quantiser = fit_quantiser(learned.vectors, source=f"{len(names)} photographs")
        self.simulation = DescriptorSimulation(
            network,
            config,
            height,
            width,
            pooling,
            whitening=whitening,
            quantiser=self.quantiser,
            descriptor=descriptor,
        )
        codes = [self.simulation.reference(open_image(path), DESCRIPTOR_BYTES) for path in paths]
        self.index = DescriptorIndex.create(KIND, learned, self.quantiser)
        self.index.add(Descriptors(learned.settings, learned.names, self._decoded(codes)), "the collection")

    def ask(self, name: str, rgb: np.ndarray, count: int = 5, seed: int = 1) -> Answer:
        """The ``count`` nearest of a photograph, uint8 RGB [H, W, 3]. Raises SimulationError."""
        report = self.simulation.run(rgb, "bytes", seed=seed)
        both = self._decoded([report.found, report.expected])
        found, expected = search(self.index, both, (name, name), count)
        return Answer(report, found, expected)

    def _decoded(self, codes: Sequence[bytes]) -> np.ndarray:
        """What the index's bytes stand for: it makes the same bytes of it again."""
        return from_bytes(np.stack([np.frombuffer(code, np.uint8) for code in codes]), self.quantiser)


def answer_row(name: str, answer: Answer) -> dict[str, object]:
    """For ``--json``."""
    return {
        "query": name,
        "equal": answer.equal,
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
    add("--height", type=int, default=64, help="of a crop (default: 64)")
    add("--width", type=int, default=64)
    add("-n", "--count", type=int, default=5, help="photographs wanted (default: 5)")
    add("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        paths, names, _ = collect_pictures([arguments.collection])
        queries = [(path.as_posix(), open_image(path)) for path in arguments.queries]
        with progress("describing the collection, building the chip", None):
            chip = ChipSearch(
                load_network(arguments.network), load_config(arguments.config),
                list(zip(names, paths, strict=True)), arguments.height, arguments.width, arguments.pooling,
                arguments.whitening,
            )  # fmt: skip
        answers: list[tuple[str, Answer]] = []
        with progress("simulating", len(queries)) as advance:
            for name, rgb in queries:
                answers.append((name, chip.ask(name, rgb, arguments.count)))
                advance(1)
    except InputError as error:
        parser.error(str(error))
    except SimulationError as error:
        parser.exit(1, f"{error}\n")
    equal = all(answer.equal for _, answer in answers)
    if arguments.json:
        rows = [answer_row(*answer) for answer in answers]
        print(json.dumps({"indexed": len(chip.index), "equal": equal, "queries": rows}, indent=2))
        return int(not equal)
    for name, answer in answers:
        report = answer.report
        print(f"{name}: {len(report.found)} bytes in {report.frames} frames, {sum(report.cycles):,} cycles; "
              f"{'equal to the reference' if answer.equal else 'NOT equal to the reference'}")  # fmt: skip
        for rank, match in enumerate(answer.found.matches, 1):
            print(f"  {rank}  {match.score:.4f}  {match.name}")
    return int(not equal)


if __name__ == "__main__":
    sys.exit(main())
