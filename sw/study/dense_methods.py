"""The methods of Gong et al. for a dense layer, with the settings of their figures, their streams and the
rates by the paper's formulas."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kestrel.sw.codecs import binary, product, rates, residual, scalar, svd

RESIDUAL_CODEWORDS = 256
SVD_RATES = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class DenseMethod:
    """method: as the paper calls it; codec: label; options: for the table; encode: float32 [m, n] -> stream;
    rate: by the formula, for m and n."""

    method: str
    codec: str
    options: dict[str, Any]
    encode: Callable[[np.ndarray], bytes]
    rate: Callable[[int, int], float]


def dense_methods(rows: int, columns: int, seed: int) -> list[DenseMethod]:
    """All that can be used on a layer of ``rows`` x ``columns``."""
    found = [DenseMethod("binary", "binary", {}, binary.encode, lambda m, n: rates.binary_rate())]
    for bits in (1, 2, 3, 4, 5, 8):
        chosen = scalar.ScalarOptions("kmeans", bits, seed=seed)
        found.append(DenseMethod("KM", f"km{1 << bits}", {"codewords": 1 << bits},
                                 lambda w, o=chosen: scalar.encode(w, o),
                                 lambda m, n, k=1 << bits: rates.kmeans_rate(k)))
    found += [_product(codewords, segment, axis, seed) for axis in product.AXES for codewords in (4, 8, 16)
              for segment in (1, 2, 3, 4)]
    found += [_residual(stages, seed) for stages in (1, 2, 3) if rows >= RESIDUAL_CODEWORDS]
    ranks = {rate: int(rows * columns / (rate * (rows + columns + 1))) for rate in SVD_RATES}
    found += [_svd(rank) for rank in ranks.values() if rank]
    return found


def _product(codewords: int, segment: int, axis: str, seed: int) -> DenseMethod:
    chosen = product.ProductOptions(codewords, segment, axis, seed)

    def rate(m: int, n: int) -> float:
        m, n = (n, m) if axis == "y" else (m, n)
        return 32 * m * n / rates.product_bits(m, n, codewords, -(-n // segment))

    return DenseMethod("PQ", f"pq{codewords}-{axis}{segment}",
                       {"codewords": codewords, "segment": segment, "axis": axis},
                       lambda w: product.encode(w, chosen), rate)


def _residual(stages: int, seed: int) -> DenseMethod:
    chosen = residual.ResidualOptions(RESIDUAL_CODEWORDS, stages, seed)
    return DenseMethod("RQ", f"rq{RESIDUAL_CODEWORDS}-t{stages}",
                       {"codewords": RESIDUAL_CODEWORDS, "stages": stages},
                       lambda w: residual.encode(w, chosen),
                       lambda m, n: 32 * m * n / rates.residual_bits(m, n, RESIDUAL_CODEWORDS, stages))


def _svd(rank: int) -> DenseMethod:
    chosen = svd.SvdOptions(rank)
    return DenseMethod("SVD", f"svd{rank}", {"rank": rank}, lambda w: svd.encode(w, chosen),
                       lambda m, n: 32 * m * n / rates.svd_bits(m, n, rank))
