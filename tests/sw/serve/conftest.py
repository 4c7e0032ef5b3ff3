"""A little collection, its index, and a server on it."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.structures import Kind
from kestrel.sw.serve.app import About, make_app
from kestrel.sw.serve.limits import Limits
from kestrel.sw.serve.pictures import IndexPictures
from kestrel.sw.serve.searcher import Searcher
from kestrel.verif.cases.random_network import random_network

NAME = "vgg16/32:pool2"
SIZE = 32
PICTURES = 7
LIMITS = Limits(upload_bytes=200_000, pixels=40_000, jobs=2)


@dataclass(frozen=True)
class Place:
    """folder: of the pictures; index: of floats; engines: by name."""

    folder: Path
    index: DescriptorIndex
    engines: dict

    def searcher(self, codes="floats"):
        index = self.index.recoded(codes)
        return Searcher(index, self.engines, IndexPictures(index))

    def app(self, codes="floats", limits=LIMITS, refused=None, hosts=("testserver", "127.0.0.1")):
        engines = {name: engine for name, engine in self.engines.items() if name not in (refused or {})}
        index = self.index.recoded(codes)
        searcher = Searcher(index, engines, IndexPictures(index))
        return make_app(searcher, About("little.index", {"Pictures": str(PICTURES)}, refused or {}, 5),
                        limits, hosts)


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Pictures in a folder within a folder, one with a name that needs quoting; a reference, and the chip."""
    root = tmp_path_factory.mktemp("serve")
    folder = root / "photos"
    (folder / "in ner").mkdir(parents=True)
    (root / "secret.png").write_bytes(encoded(generate_picture(30, 30, 99), "PNG"))
    names = [f"{n}.png" for n in range(PICTURES - 1)] + ["in ner/ä #1%.jpg"]
    for n, name in enumerate(names):
        Image.fromarray(generate_picture(40, 56, n)).save(folder / name)
    network = random_network(np.random.default_rng(5), parse_network(NAME).layers, 3, name=NAME)
    options = DescriptorOptions(size=SIZE)
    engines = {"reference": make_describer(network, options), "rtl": make_describer(network, replace(
        options, backend="rtl", backend_options={"config": "nano"}))}
    described = engines["reference"].describe([folder / name for name in names], names, workers=0)
    index = DescriptorIndex.create(Kind("floats", "flat"), described)
    index.add(described, "d.npz")
    return Place(folder, index, engines)


@pytest.fixture
def client(place):
    with TestClient(place.app()) as made:
        yield made


def encoded(rgb, kind="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def ask():
    """A search by a client: the answer's status and JSON."""
    def search(client, content, name="q.png", **fields):
        found = client.post("/api/search", files={"picture": (name, content)}, data=fields)
        return found.status_code, found.json()

    return search


@pytest.fixture
def photo(place):
    """The bytes of a picture of the collection."""
    return (place.folder / "3.png").read_bytes()
