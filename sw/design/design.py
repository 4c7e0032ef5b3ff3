"""One chip as a whole: its estimate, and what else is known of it and of its network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.provenance import Provenance
from kestrel.sw.estimate.estimate import Estimate


@dataclass(frozen=True)
class Sensitivity:
    """A layer, with the distortion of the descriptor at each mask width, by bits, and the width it has."""

    layer: str
    chosen: int
    distortion: Mapping[int, float]


@dataclass(frozen=True)
class Retrieval:
    """What ``kestrel evaluate`` measures with descriptors of the network: ``map`` is the mean average
    precision, ``recalls`` by the number of pictures that are looked at."""

    dataset: str
    protocol: str
    images: int
    queries: int
    dimensions: int
    map: float
    recalls: Mapping[int, float]


@dataclass(frozen=True)
class Design:
    """A network on a configuration. sensitivities: empty where they are not known; retrieval: None without
    descriptors."""

    estimate: Estimate
    provenance: Provenance
    sensitivities: tuple[Sensitivity, ...] = ()
    retrieval: Retrieval | None = None

    @property
    def label(self) -> str:
        """What tells it from another."""
        plan = self.estimate.plan
        return f"{self.estimate.network} on {plan.config.name}, {plan.height} x {plan.width}"


def read_sensitivities(path: Path, layers: tuple[str, ...]) -> tuple[Sensitivity, ...]:
    """Those in the JSON object that ``kestrel allocate --json`` prints, for a network with ``layers``. Raises
    InputError for another file, or one of another network."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(
            Sensitivity(
                str(layer["name"]), int(layer["mask_bits"]),
                {int(choice["mask_bits"]): float(choice["distortion"]) for choice in layer["choices"]},
            )
            for layer in content["layers"]
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: no sensitivities of layers; allowed: what `kestrel allocate --json` "
                         "prints, in a file") from None
    unknown = [each.layer for each in found if each.layer not in layers]
    if not found or unknown:
        what = f"layer {unknown[0]}" if unknown else "no layer"
        raise InputError(f"{path}: {what}, which the network lacks; allowed: an allocation of this network")
    return found
