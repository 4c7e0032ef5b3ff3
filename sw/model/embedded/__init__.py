"""The networks that are part of the package: trained, integers only, each with a text beside it that says
where it comes from and how well it retrieves. docs/embedded-network.md says how they were made."""

import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

EMBEDDED = "embedded"
"""A small network, for first steps."""

RESNET18_RETRIEVAL = "resnet18-retrieval"
"""A residual network that retrieves well. An engine that runs it has the option ``residual``."""

VGG16_RETRIEVAL = "vgg16-retrieval"
"""A complete VGG-16. An engine that runs it has the option ``scalar_tables``."""

COMPACT_RETRIEVAL = "compact-retrieval"
"""A VGG-16 of a quarter of the channels, cut at pool4, for small devices. Any engine runs it."""

FOLDER = Path(__file__).parent
NETWORK_PATHS = {
    EMBEDDED: FOLDER / "network.safetensors",
    RESNET18_RETRIEVAL: FOLDER / "resnet18_retrieval.safetensors.xz",
    VGG16_RETRIEVAL: FOLDER / "vgg16_retrieval.safetensors.xz",
    COMPACT_RETRIEVAL: FOLDER / "compact_retrieval.safetensors.xz",
}
"""The files by name. A name is accepted wherever a network file may be given."""

RESNET18_MAPS = f"{RESNET18_RETRIEVAL}-maps"
"""A whitening of that network's descriptors of two maps, layer3.0 and layer4.0."""

VGG16_MAPS = f"{VGG16_RETRIEVAL}-maps"
"""A whitening of that network's descriptors of two maps, pool3 and pool5."""

COMPACT_MAPS = f"{COMPACT_RETRIEVAL}-maps"
"""A whitening of that network's descriptors of two maps, pool3 and pool4."""

WHITENING_PATHS = {
    RESNET18_RETRIEVAL: FOLDER / "resnet18_retrieval.whitening.safetensors",
    RESNET18_MAPS: FOLDER / "resnet18_retrieval_maps.whitening.safetensors",
    VGG16_MAPS: FOLDER / "vgg16_retrieval_maps.whitening.safetensors",
    COMPACT_MAPS: FOLDER / "compact_retrieval_maps.whitening.safetensors",
}
"""Whitenings of NIP descriptors at 224x224: under the network's name by region; of its two maps once, after
the average, as the chip does it."""

TEXT_PATHS = {
    EMBEDDED: FOLDER / "network.md",
    RESNET18_RETRIEVAL: FOLDER / "resnet18_retrieval.md",
    VGG16_RETRIEVAL: FOLDER / "vgg16_retrieval.md",
    COMPACT_RETRIEVAL: FOLDER / "compact_retrieval.md",
}


def network_path(network: str | Path) -> Path:
    """The file that ``network`` names: one of the package's, or itself."""
    return NETWORK_PATHS.get(str(network), Path(network))


def whitening_path(whitening: str | Path) -> Path:
    """The file that ``whitening`` names: that of one of the package's networks, or itself."""
    return WHITENING_PATHS.get(str(whitening), Path(whitening))


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A network file of the package as it was before it was compressed; any other file is given back."""
    if path not in NETWORK_PATHS.values() or path.suffix != ".xz":
        yield path
        return
    with TemporaryDirectory(prefix="kestrel-") as folder:
        content = Path(folder) / path.stem
        content.write_bytes(lzma.decompress(path.read_bytes()))
        yield content
