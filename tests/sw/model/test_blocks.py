"""An image in blocks: a 3x3 convolution of stride 1 on it is the 7x7 one of stride 2 on the image."""

import numpy as np
import pytest
import torch

from kestrel.sw.model.blocks import blocks_kernel, blocks_of, blocks_pad, stem_kernel
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.pictures.images import first_map, quantise_pixels


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (9, 8), (1, 1), (2, 1), (13, 6)])
def test_it_is_the_7x7_convolution(size: tuple[int, int], rng: np.random.Generator) -> None:
    """Integers in float64: equal, not nearly equal, with any values outside the image."""
    image = torch.from_numpy(rng.integers(0, 256, (2, 3, *size)).astype(np.float64))
    pad = torch.from_numpy(rng.integers(0, 256, 3).astype(np.float64))
    weight = rng.integers(-99, 100, (5, 3, 7, 7)).astype(np.float64)
    framed = pad.view(1, 3, 1, 1).expand(2, 3, size[0] + 8, size[1] + 8).clone()
    framed[:, :, 3 : 3 + size[0], 3 : 3 + size[1]] = image
    rows, columns = (-(-side // 2) for side in size)
    wanted = torch.nn.functional.conv2d(framed, torch.from_numpy(weight), stride=2)[:, :, :rows, :columns]

    blocks = blocks_of(image, pad)
    assert blocks.shape == (2, 27, rows, columns)
    outside = torch.from_numpy(blocks_pad(pad.numpy())).view(1, 27, 1, 1)
    around = outside.expand(2, 27, rows + 2, columns + 2).clone()
    around[:, :, 1:-1, 1:-1] = blocks
    found = torch.nn.functional.conv2d(around, torch.from_numpy(blocks_kernel(weight)))
    assert torch.equal(found, wanted)


def test_the_channels_are_those_of_the_definition(rng: np.random.Generator) -> None:
    """Channel (set * 3 + stream) * 3 + colour, as docs/arithmetic.md defines it."""
    image, pad = rng.integers(0, 256, (3, 5, 6)).astype(np.uint8), np.array([7, 8, 9], np.uint8)
    found = blocks_of(torch.from_numpy(image)[None], torch.from_numpy(pad))[0].numpy()
    parts = ((0, 0), (1, 0), (1, 1))
    for number in range(27):
        (p, dy), (q, dx), colour = parts[number // 9], parts[number // 3 % 3], number % 3
        for y, x in np.ndindex(3, 3):
            row, column = 2 * (y - dy) + p, 2 * (x - dx) + q
            inside = 0 <= row < 5 and 0 <= column < 6
            assert found[number, y, x] == (image[colour, row, column] if inside else pad[colour])


def test_taps_of_no_pixel_are_zero() -> None:
    kernel = blocks_kernel(np.ones((1, 3, 7, 7)))
    assert kernel.sum() == 3 * 49
    assert not kernel[0, 18:, 1:].any()


def test_first_map(rng: np.random.Generator) -> None:
    """Pixels are rounded first, and what stands outside is the rounded mean."""
    rgb, torchvision = rng.integers(0, 256, (5, 4, 3)).astype(np.uint8), find_preprocessing("torchvision")
    pixels = quantise_pixels(rgb, torchvision, 5)
    np.testing.assert_array_equal(first_map(rgb, torchvision, 5), pixels)
    found = first_map(rgb, torchvision, 5, blocks=True)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[:3], pixels[:, ::2, ::2])
    np.testing.assert_array_equal(found[-3:, 0, 0], torchvision.pad(5))


def test_the_7x7_kernels_are_found_again(rng: np.random.Generator) -> None:
    """And only where there are some: a tap outside their window is refused wherever it is."""
    weight = rng.integers(-99, 100, (2, 3, 7, 7)).astype(np.float32)
    blocks = blocks_kernel(weight)
    np.testing.assert_array_equal(stem_kernel(blocks), weight)
    outside = np.argwhere(blocks_kernel(np.ones((1, 3, 7, 7)))[0] == 0)
    assert len(outside) == 27 * 9 - 3 * 49
    for channel, row, column in outside:
        odd = blocks.copy()
        odd[1, channel, row, column] = 1
        assert stem_kernel(odd) is None
