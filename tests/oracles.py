"""The integer network once more, as short and plain as it gets: NumPy, int64, a loop over the nine taps.

Independent of ``sw.reference`` and slow; only for holding the reference to it.
"""

import numpy as np

from hw.spec import BIAS_FRACTION
from sw.compressed import CompressedNetwork


def integer_network(network: CompressedNetwork, x: np.ndarray) -> list[np.ndarray]:
    """Outputs of all layers, int64 [N, C_l, H_l, W_l], for x [N, C, H, W]."""
    maps: list[np.ndarray] = []
    x = x.astype(np.int64)
    pad = network.pad.astype(np.int64)
    for layer in network.layers:
        n, c, h, w = x.shape
        framed = np.broadcast_to(pad[None, :, None, None], (n, c, h + 2, w + 2)).copy()
        framed[:, :, 1 : h + 1, 1 : w + 1] = x
        acc = np.zeros((n, layer.shape.out_channels, h, w), dtype=np.int64)
        for row in range(3):
            for column in range(3):
                weight = layer.alpha.astype(np.int64) * layer.mask[:, :, row, column]
                acc += np.einsum("oi,nihw->nohw", weight, framed[:, :, row : row + h, column : column + w])
        s = layer.shift
        bias = layer.bias.astype(np.int64)[None, :, None, None]
        y = (acc + (bias << (s - BIAS_FRACTION)) + (1 << (s - 1))) >> s
        y = np.clip(y, 0, 2**network.activation_bits - 1)
        if layer.shape.pool:
            h, w = h // 2 * 2, w // 2 * 2
            y = y[:, :, :h, :w].reshape(n, -1, h // 2, 2, w // 2, 2).max(axis=(3, 5))
        maps.append(y)
        x, pad = y, np.zeros(layer.shape.out_channels, dtype=np.int64)
    return maps
