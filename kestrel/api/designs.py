"""The page of a chip: its estimate, drawn, with what else is known of its network."""

from collections.abc import Sequence
from pathlib import Path

from kestrel.api.estimates import estimate
from kestrel.api.planning import Config, Network, find_network, is_named
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.sw.common.progress import Progress
from kestrel.sw.common.provenance import provenance_now
from kestrel.sw.design.design import Design, Retrieval, read_sensitivities
from kestrel.sw.design.page import write_page
from kestrel.sw.estimate.speed import DEFAULT_CLOCK_MHZ
from kestrel.sw.model.digest import network_digest
from kestrel.sw.pictures.sizes import Size
from kestrel.sw.retrieval.describe.descriptor import load_descriptors, shown


def design(
    network: Network, config: Config = "edge", size: Size = 224, *, clock_mhz: float = DEFAULT_CLOCK_MHZ,
    device: str | None = None, top: str = "engine", mask_bits: str | None = None,
    pool_maps: Sequence[str] = (), batch: int = 1, fit: bool = False, pooling: str | None = None,
    allocation: str | Path | None = None, descriptors: str | Path | None = None,
    dataset: str | Path | None = None, protocol: str = "groups", command: str = "",
    progress: Progress | None = None,
) -> Design:
    """A chip as its page shows it: the estimate, and where they are given, sensitivities and retrieval.

    Everything up to ``pooling`` is as for ``estimate``. ``allocation``: a file with the JSON that ``kestrel
    allocate`` prints for this network. ``descriptors``: a file of descriptors of the pictures of ``dataset``,
    which ``protocol`` evaluates; integer ones must be this network's. ``command``: the command line, for the
    page. Raises InputError.
    """
    if (descriptors is None) != (dataset is None):
        raise InputError("--descriptors and --dataset; allowed: both, or none of them")
    found = estimate(network, config, size, clock_mhz=clock_mhz, device=device, top=top, mask_bits=mask_bits,
                     pool_maps=pool_maps, batch=batch, fit=fit, pooling=pooling, progress=progress)
    digest = "" if is_named(network) else network_digest(find_network(network))
    names = tuple(layer.name for layer in found.report.layers)
    sensitivities = () if allocation is None else read_sensitivities(Path(allocation), names)
    retrieval = None
    if descriptors is not None and dataset is not None:
        retrieval = measure_retrieval(Path(descriptors), Path(dataset), protocol, digest)
    about = provenance_now(
        found.network if is_named(network) or not isinstance(network, str | Path) else
        f"{network} ({found.network})",
        digest, "" if dataset is None else str(dataset), command,
    )  # fmt: skip
    return Design(found, about, sensitivities, retrieval)


def measure_retrieval(descriptors: Path, dataset: Path, protocol: str, digest: str) -> Retrieval:
    """What the descriptors of a data set retrieve. digest: of the network that the page is about. Raises
    InputError for descriptors of another network."""
    # They load torch, which a page without retrieval does not wait for.
    from kestrel.api.retrieval import evaluate, load_benchmark  # noqa: PLC0415

    loaded = load_descriptors(descriptors)
    settings = loaded.settings
    if settings.arithmetic == "integer" and settings.network != digest:
        raise InputError(f"{descriptors}: descriptors of network {shown(settings.network)}; allowed: of the "
                         f"network of the page, {shown(digest)}")
    found = evaluate(load_benchmark(dataset, protocol), loaded, what=str(descriptors))
    split = found.splits[found.headline]
    return Retrieval(dataset.name, found.protocol, found.images, found.queries, loaded.vectors.shape[1],
                     found.map, dict(split.recall))


def report_design(path: str | Path, design: Design, against: Design | None = None) -> Path:
    """Writes the page of a design, or of two side by side, and returns its path.

    One HTML file that loads nothing from elsewhere; what is there is replaced. Raises InputError where it
    cannot be written.
    """
    path = Path(path)
    check_output(path)
    write_page(path, [design] if against is None else [design, against])
    return path
