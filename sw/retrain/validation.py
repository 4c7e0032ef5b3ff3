"""The measure on held-out pictures, for early stopping and for the report before and after training."""

from collections.abc import Iterable

import torch

from kestrel.sw.retrain import distributed
from kestrel.sw.retrain.losses import Loss, similarities
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.networks.student import QuantisedNetwork
from kestrel.sw.retrain.samples.batches import Batch
from kestrel.sw.retrain.samples.labels import Hits
from kestrel.sw.retrain.samples.triplets import squared_distances

Student = QuantisedNetwork | FloatConvs


@torch.no_grad()
def measure(student: Student, loss: Loss, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
    """Figures over all pictures of ``batches``. ``measure`` is the decisive one (more is better): the first
    of the others below that exists, except that it is ``agreement`` for a loss with the term relation.

    loss            what training minimises, as the mean over these pictures

    t1, t5          with labels: shares of pictures
    nearest         with triplets: share of pictures whose nearest neighbour is of their group
    cosine          with a teacher of the same width: mean cosine of the descriptors with the teacher's
    cosine_lowest   the lowest of these cosines
    agreement       with a teacher: correlation of the similarities among the pictures according to the
                    student with those according to the teacher
    """
    hits, mine, theirs, groups = Hits(), [], [], []
    losses: list[tuple[int, float]] = []
    teacher = loss.teacher
    for cpu_batch in batches:
        batch = cpu_batch.to(device)
        outputs = student(batch.pictures, loss.wanted)
        last = outputs[loss.last]
        taught = loss.teach(batch.pictures)
        if len(batch.pictures) > 1:  # a single picture has no relation to another
            with distributed.alone():  # every process measures all pictures
                losses.append((len(batch.pictures), float(loss.total(loss(outputs, batch, taught)))))
        mine.append(loss.descriptor(last))
        groups.append(batch.groups)
        if loss.head is not None:
            hits.add(loss.head(last), batch.labels)
        if teacher is not None:
            if taught is None:
                taught = teacher(batch.pictures, [loss.teacher_last])
            theirs.append(loss.descriptor(taught[loss.teacher_last]))
    found: dict[str, float] = {}
    own, group = torch.cat(mine), torch.cat(groups)
    if loss.head is not None:
        found |= {"t1": hits.t1_share, "t5": hits.t5_share}
    if "triplet" in loss.settings.weights:
        found["nearest"] = _nearest(own, group)
    if teacher is not None:
        wanted = torch.cat(theirs)
        if own.shape == wanted.shape:
            cosines = (own * wanted).sum(dim=1)
            found |= {"cosine": float(cosines.mean()), "cosine_lowest": float(cosines.min())}
        if len(own) > 2:
            found["agreement"] = _agreement(own, wanted)
    if found:
        name = (
            "agreement" if "relation" in loss.settings.weights and "agreement" in found else next(iter(found))
        )
        found["measure"] = found[name]
    if losses:
        found["loss"] = sum(n * value for n, value in losses) / sum(n for n, _ in losses)
    return found


def _nearest(descriptors: torch.Tensor, groups: torch.Tensor) -> float:
    distances = squared_distances(descriptors)
    distances.fill_diagonal_(torch.inf)
    same = (groups[:, None] == groups) & (groups >= 0)[:, None]
    same.fill_diagonal_(False)
    queries = same.any(dim=1)
    nearest = distances.argmin(dim=1)
    right = same.gather(1, nearest[:, None])[:, 0]
    return float(right[queries].double().mean()) if bool(queries.any()) else 0.0


def _agreement(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    rows, columns = torch.triu_indices(len(mine), len(mine), 1).unbind()
    pairs = torch.stack(
        [similarities(mine.double())[rows, columns], similarities(theirs.double())[rows, columns]]
    )
    return float(torch.corrcoef(pairs)[0, 1].nan_to_num())
