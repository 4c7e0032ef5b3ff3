"""Generated scenes for retrieval: several views of each place, and which belong together.

A place is a backdrop with objects in front of it, at different depths. A view moves the camera sideways,
nearer or away, turns it a little and exposes anew: what is near moves more than what is far and hides other
parts of it. So the pictures of a group share objects and not pixels, as photographs of a place do.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_directory
from kestrel.sw.common.origin import Origin
from kestrel.sw.common.picture_manifest import write_manifest
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.pictures.sizes import SIDE_MAX

GROUPS_MAX = 999
VIEWS_MAX = 99
SIDE_MIN = 16

MARGIN = 1.5
"""Side of the layers, in sides of the picture: how far the camera can see when it moves."""

OBJECTS = (4, 8)
"""Fewest and most objects of a place."""

SURFACES = 2
"""Pictures that the objects of a place are cut from in turn, each elsewhere: most of the time goes there."""

NEARNESS = (1.15, 1.9)
"""Of the objects, 1 being the backdrop's: how much more they move and grow when the camera moves."""


@dataclass(frozen=True)
class Camera:
    """``x``, ``y``: shift in pixels; ``zoom``; ``turn``: radians; exposure: ``gain`` [3], ``offset``."""

    x: float
    y: float
    zoom: float
    turn: float
    gain: np.ndarray
    offset: float


@dataclass(frozen=True)
class Layer:
    """A picture with a mask (None: everywhere), all of one size, farthest first. nearness: 1 = backdrop."""

    picture: Image.Image
    mask: Image.Image | None
    nearness: float


def scene_views(height: int, width: int, views: int, seed: int) -> Iterator[np.ndarray]:
    """``views`` pictures of one place, uint8 RGB [height, width, 3]. A seed gives the same place."""
    generator = np.random.default_rng([seed, height, width])
    layers = _place(round(MARGIN * height), round(MARGIN * width), generator)
    for _ in range(views):
        yield _take(layers, _camera(height, width, generator), height, width, generator)


def write_scenes(output: Path, groups: int, views: int, seed: int, height: int, width: int,
                 advance: Callable[[int], None], *, force: bool = False) -> list[tuple[str, str]]:
    """A folder of ``groups`` places with ``views`` pictures each, PNG, named by group and view (00102.png),
    and ``manifest.csv``. Returns its rows (file, group); ``advance`` is called after each picture;
    ``force``: what another run has left in the folder is replaced too. Raises InputError."""
    for what, value, least, most in (
        ("groups", groups, 1, GROUPS_MAX), ("views", views, 1, VIEWS_MAX), ("seed", seed, 0, 2**63 - 1),
        ("height", height, SIDE_MIN, SIDE_MAX // 2), ("width", width, SIDE_MIN, SIDE_MAX // 2),
    ):  # fmt: skip
        if not least <= value <= most:
            raise InputError(f"{what} {value}; allowed: {least}..{most}")
    rows: list[tuple[str, str]] = []
    origin = Origin("generated scenes",
                    {"groups": groups, "views": views, "seed": seed, "height": height, "width": width})
    with atomic_directory(output, origin, force=force) as folder:
        for group in range(groups):
            for view, rgb in enumerate(scene_views(height, width, views, seed + group)):
                rows.append((f"{group:03}{view:02}.png", f"{group:03}"))
                Image.fromarray(rgb).save(folder / rows[-1][0])
                advance(1)
        write_manifest(folder, rows)
    return rows


def _place(height: int, width: int, generator: np.random.Generator) -> list[Layer]:
    """Layers of a new place, farthest first."""
    backdrop, *surfaces = (
        Image.fromarray(generate_picture(height, width, int(generator.integers(2**31))))
        for _ in range(1 + SURFACES)
    )
    layers = [Layer(backdrop, None, 1.0)]
    count = generator.integers(*OBJECTS, endpoint=True)
    for number, nearness in enumerate(np.sort(generator.uniform(*NEARNESS, count))):
        mask = Image.new("L", (width, height))
        corners = _outline(generator) * min(height, width) + generator.uniform(0.2, 0.8, 2) * (width, height)
        ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in corners], fill=255)
        layers.append(Layer(surfaces[number % SURFACES], mask, float(nearness)))
    return layers


def _outline(generator: np.random.Generator) -> np.ndarray:
    """Corners [N, 2] of a star-shaped polygon round 0, in shares of the picture's shorter side."""
    count = int(generator.integers(3, 9))
    angle = np.sort(generator.uniform(0, 2 * np.pi, count))
    radius = generator.uniform(0.06, 0.2) * generator.uniform(0.6, 1.4, count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]


def _camera(height: int, width: int, generator: np.random.Generator) -> Camera:
    side = min(height, width)
    x, y = generator.uniform(-0.12, 0.12, 2) * side
    light = generator.uniform(-0.2, 0.2) + generator.uniform(-0.05, 0.05, 3)  # brighter, and a tint
    return Camera(float(x), float(y), float(np.exp(generator.uniform(-0.2, 0.2))),
                  float(generator.uniform(-0.14, 0.14)), np.exp(light), float(generator.uniform(-25, 25)))


def _take(layers: list[Layer], camera: Camera, height: int, width: int,
          generator: np.random.Generator) -> np.ndarray:
    """What the camera sees, with a little noise of its sensor."""
    seen = Image.new("RGB", (width, height))
    for layer in layers:
        mapping = _mapping(layer, camera, height, width)
        picture, mask = (
            None if image is None else image.transform((width, height), Image.Transform.AFFINE, mapping,
                                                       Image.Resampling.BILINEAR)
            for image in (layer.picture, layer.mask)
        )
        assert picture is not None, "a layer has a picture"
        seen.paste(picture, (0, 0), mask)
    exposed = np.asarray(seen) * camera.gain + camera.offset + generator.normal(0, 3, (height, width, 3))
    return np.clip(np.rint(exposed), 0, 255).astype(np.uint8)


def _mapping(layer: Layer, camera: Camera, height: int, width: int) -> tuple[float, ...]:
    """Coefficients (a, b, c, d, e, f) that take a pixel of the view to one of the layer: the view's centre to
    the layer's, moved by the nearness, turned, and divided by a zoom that grows with the nearness."""
    zoom = camera.zoom ** layer.nearness
    cosine, sine = np.cos(camera.turn) / zoom, np.sin(camera.turn) / zoom
    x = layer.picture.width / 2 + camera.x * layer.nearness
    y = layer.picture.height / 2 + camera.y * layer.nearness
    u, v = width / 2, height / 2
    return (cosine, -sine, x - cosine * u + sine * v, sine, cosine, y - sine * u - cosine * v)
