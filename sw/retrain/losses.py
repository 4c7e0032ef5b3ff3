"""What training minimises. A loss is a sum of weighted terms, each without a unit:

``features``    distillation: the squared difference from the teacher's activations after chosen layers,
                divided by the teacher's power, for each picture and layer (FitNets, Romero et al. 2015,
                without its regressor)
``descriptor``  distillation: 1 - cosine between the descriptors of student and teacher
``relation``    the similarities among the student's descriptors compared with those among the teacher's, for
                a student of any width (relational knowledge distillation, Park et al. 2019; similarity
                preserving, Tung and Mori 2019): both sets are centred on their mean and normalised; the term
                is the mean squared difference of the similarities over the mean square of the teacher's
``labels``      cross-entropy after a classifier
``triplet``     a triplet loss, its triplets mined from groups
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.graph import Side, output_side
from kestrel.sw.model.network import IMAGE, NetworkShape, source_of
from kestrel.sw.retrain import distributed
from kestrel.sw.retrain.networks.floats import FloatConvs, Outputs
from kestrel.sw.retrain.samples.batches import Batch
from kestrel.sw.retrain.samples.labels import Classifier, label_loss
from kestrel.sw.retrain.samples.triplets import MARGIN, triplet_loss
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor

LOSSES: dict[str, dict[str, float]] = {
    "distill": {"features": 1.0, "descriptor": 4.0, "relation": 1.0},
    "relational": {"relation": 1.0},
    "labels": {"labels": 1.0},
    "triplet": {"triplet": 1.0},
}
"""The terms and their weights, by the name of a loss."""

TERMS = ("features", "descriptor", "relation", "labels", "triplet")
TEACHER_TERMS = ("features", "descriptor", "relation")


@dataclass(frozen=True)
class LossSettings:
    """``weights`` are those of the terms. ``layers`` names the layers whose features are compared; () means
    the last layer before each smaller map, and the last of all. ``mining`` and ``margin`` apply to triplets,
    ``smoothing`` to labels."""

    weights: dict[str, float]
    layers: tuple[str, ...] = ()
    mining: str = "batch-hard"
    margin: float = MARGIN
    smoothing: float = 0.0


def parse_losses(text: str) -> dict[str, float]:
    """The weights of the terms, from names joined by +. Each name is a loss or a term, optionally with a
    factor: ``distill``, ``distill+0.5*triplet``, ``descriptor+2*relation``. Raises InputError."""
    weights: dict[str, float] = {}
    for part in text.split("+"):
        factor, star, name = part.strip().rpartition("*")
        try:
            times = float(factor) if star else 1.0
        except ValueError:
            times = -1.0
        terms = LOSSES.get(name, {name: 1.0} if name in TERMS else None)
        if terms is None or not 0 < times < float("inf"):
            raise InputError(
                f"loss {part.strip()!r}; allowed: {', '.join([*LOSSES, *TERMS[:3]])}, joined by "
                "+, each with a factor above 0 if wanted (0.5*triplet)"
            )
        for term, weight in terms.items():
            weights[term] = weights.get(term, 0.0) + times * weight
    return weights


def feature_layers(shape: NetworkShape, names: Sequence[str]) -> tuple[int, ...]:
    """Indices of the layers with these names; without names, of the layers that pool, of those that a layer
    with steps of two reads, and of the last. Raises InputError."""
    known = {layer.name: n for n, layer in enumerate(shape.layers)}
    for name in names:
        if name not in known:
            raise InputError(f"feature layer {name!r}; allowed: {', '.join(known)}")
    if names:
        return tuple(sorted({known[name] for name in names}))
    ends = {n for n, layer in enumerate(shape.layers) if layer.pool}
    ends |= {source_of(shape.layers, n) for n, layer in enumerate(shape.layers) if layer.stride == 2}
    return tuple(sorted((ends - {IMAGE}) | {len(shape.layers) - 1}))


class Loss(nn.Module):
    """The terms for one student.

    Parameters: the student's shape, the settings, the teacher if a term needs one, and the number of classes
    if labels are learned. Raises InputError if these do not fit each other.

    Members: ``head`` is the classifier, or None without labels; ``descriptor`` computes the descriptors;
    ``wanted`` are the layers of the student whose outputs are needed.
    """

    def __init__(
        self, shape: NetworkShape, settings: LossSettings, teacher: FloatConvs | None, classes: int = 0
    ) -> None:
        super().__init__()
        self.settings = settings
        self.descriptor = NipDescriptor()
        self.last = len(shape.layers) - 1
        self.teacher = teacher
        self.head: Classifier | None = None
        weights = settings.weights
        if teacher is None and any(term in weights for term in TEACHER_TERMS):
            raise InputError(
                f"loss {'+'.join(weights)} needs the float network; allowed: --weights or --teacher FILE"
            )
        self._pairs: dict[int, int] = {}
        if teacher is not None:
            self.teacher_last = len(teacher.shape.layers) - 1
            if "features" in weights:
                self._pairs = _pairs(shape, teacher.shape, feature_layers(shape, settings.layers))
            if "descriptor" in weights:
                _same_width(shape, teacher.shape)
        if "labels" in weights:
            if classes < 2:
                raise InputError(
                    f"loss labels with {classes} classes; allowed: pictures of at least 2 classes"
                )
            self.head = Classifier(shape.layers[-1].out_channels, classes)
        self.wanted = tuple(sorted({*self._pairs, self.last}))

    def teach(self, pictures: torch.Tensor, *, mixed: bool = False) -> Outputs | None:
        """The teacher's maps, by the teacher's layers; None if no term uses them."""
        if self.teacher is None or not any(term in self.settings.weights for term in TEACHER_TERMS):
            return None
        wanted = {*self._pairs.values(), self.teacher_last}
        with torch.no_grad(), torch.autocast(pictures.device.type, torch.bfloat16, enabled=mixed):
            return self.teacher(pictures, wanted)

    def forward(self, outputs: Outputs, batch: Batch, taught: Outputs | None) -> dict[str, torch.Tensor]:
        """The terms, unweighted: this process's part of the mean over the joined batch."""
        weights, last = self.settings.weights, outputs[self.last]
        terms: dict[str, torch.Tensor] = {}
        if taught is not None and "features" in weights:
            by_layer = [_difference(outputs[mine], taught[theirs]) for mine, theirs in self._pairs.items()]
            terms["features"] = distributed.share(torch.stack(by_layer).mean())
        if any(term in weights for term in ("descriptor", "relation", "triplet")):
            own = self.descriptor(last)
            if taught is not None and ("descriptor" in weights or "relation" in weights):
                with torch.no_grad():
                    theirs = self.descriptor(taught[self.teacher_last].float())
                if "descriptor" in weights:
                    terms["descriptor"] = distributed.share(1 - (own * theirs).sum(dim=1).mean())
                if "relation" in weights:
                    terms["relation"] = _relation(distributed.joined(own), distributed.joined(theirs))
            if "triplet" in weights:
                found = triplet_loss(
                    distributed.joined(own),
                    distributed.joined(batch.groups),
                    self.settings.mining,
                    self.settings.margin,
                )
                terms["triplet"] = found.loss
        if self.head is not None:
            terms["labels"] = distributed.share(
                label_loss(self.head(last), batch.labels, self.settings.smoothing)
            )
        return terms

    def total(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """The weighted sum of the terms."""
        return torch.stack([self.settings.weights[name] * value for name, value in terms.items()]).sum()


def _pairs(mine: NetworkShape, theirs: NetworkShape, layers: Sequence[int]) -> dict[int, int]:
    """The teacher's layer of the same name for each layer. Raises InputError if one is missing or does not
    match in width or in the size of its map."""
    known = {layer.name: n for n, layer in enumerate(theirs.layers)}
    my_sides, their_sides = _sides(mine), _sides(theirs)
    for index in layers:
        layer = mine.layers[index]
        other = known.get(layer.name)
        if other is None or (theirs.layers[other].out_channels, their_sides[other]) != (
            layer.out_channels,
            my_sides[index],
        ):
            raise InputError(
                f"feature layer {layer.name} of {mine.name}: the teacher {theirs.name} has none of "
                f"{layer.out_channels} channels and its size; allowed: loss relational, or a teacher as wide"
            )
    return {index: known[mine.layers[index].name] for index in layers}


def _sides(shape: NetworkShape) -> list[Side]:
    """The side of each layer's output in terms of the image's."""
    image = Side().half(up=True) if shape.blocks else Side()
    sides: list[Side] = []
    for number, layer in enumerate(shape.layers):
        source = source_of(shape.layers, number)
        sides.append(output_side(layer, image if source == IMAGE else sides[source]))
    return sides


def _same_width(mine: NetworkShape, theirs: NetworkShape) -> None:
    a, b = mine.layers[-1].out_channels, theirs.layers[-1].out_channels
    if a != b:
        raise InputError(
            f"descriptors of {a} dimensions ({mine.name}) and {b} ({theirs.name}) cannot be compared; "
            "allowed: loss relational, or a teacher as wide"
        )


def _difference(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    theirs = theirs.float()
    power = theirs.square().sum(dim=(1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny)
    return ((mine - theirs).square().sum(dim=(1, 2, 3)) / power).mean()


def _relation(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    count = len(mine)
    if count < 2:
        raise InputError(f"loss relation with batches of {count}; allowed: at least 2 pictures")
    a, b = similarities(mine), similarities(theirs)
    apart = ~torch.eye(count, dtype=torch.bool, device=mine.device)
    return (a - b)[apart].square().mean() / b[apart].square().mean().clamp_min(1e-12)


def similarities(descriptors: torch.Tensor) -> torch.Tensor:
    """Cosines, [N, N], among descriptors [N, D] from which their mean has been subtracted, because what all
    of them share does not distinguish them."""
    centred = functional.normalize(descriptors - descriptors.mean(dim=0), dim=1)
    return centred @ centred.T
