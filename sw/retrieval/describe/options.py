"""What decides how pictures become descriptors, as people choose it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.sizes import Size, height_width
from kestrel.sw.retrieval.describe.whitening import Whitening
from kestrel.sw.retrieval.pooling.nip import NipSettings


@dataclass(frozen=True)
class DescriptorOptions:
    """Everything but the network. What comes of it is recorded with the descriptors as
    ``DescriptorSettings``.

    size: of the backend's input, to which every crop is resized, in pixels; pooling: a preset of
    ``POOLINGS``, which names crops and chain; crops, chain: in place of the preset's (``describe.crops``,
    ``pooling.nip``); rotations: of the picture, 1, 2 or 4; whitening: in memory or a file; fit: a crop fills
    the input ("stretch") or keeps its proportions inside it ("keep"); resize_filter: bicubic, bilinear,
    lanczos or box; backend: a name of ``backend_names``; weights: the float network for the backend "float":
    in memory, a file, or ``random:SEED``; backend_options: the backend's own, by name; pool_maps: the layers
    or blocks whose maps are pooled, whitened and joined, such as ("layer3.0", "layer4.0"), () for the last
    layer's alone. Values are checked by ``make_describer``.
    """

    size: Size = 224
    pooling: str = "nip"
    crops: str | None = None
    chain: NipSettings | None = None
    rotations: int = 1
    whitening: str | Path | Whitening | None = None
    fit: str = "stretch"
    resize_filter: str = "bicubic"
    backend: str = "reference"
    weights: str | FloatNetwork | None = None
    backend_options: Mapping[str, str] = field(default_factory=dict)
    pool_maps: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """Of the backend's input. Raises InputError for a size that is none."""
        return height_width(self.size)[0]

    @property
    def width(self) -> int:
        """Of the backend's input. Raises InputError for a size that is none."""
        return height_width(self.size)[1]
