"""The papers' formulas of the compression rate of a dense layer, W of m rows and n columns, as float32: what
the methods' streams must have but for their stated headers."""

from math import log2

FLOAT_BITS = 32


def kmeans_rate(codewords: int) -> float:
    """32 / log2 k, without the codebook (Gong et al., section 3.2.2)."""
    return FLOAT_BITS / log2(codewords)


def binary_rate() -> float:
    """32."""
    return float(FLOAT_BITS)


def product_bits(rows: int, columns: int, codewords: int, segments: int) -> int:
    """32 k n + m s log2 k bits, s segments (section 3.2.3)."""
    return FLOAT_BITS * codewords * columns + (codewords - 1).bit_length() * rows * segments


def residual_bits(rows: int, columns: int, codewords: int, stages: int) -> int:
    """32 t k n + t m log2 k bits. The printed formula, m / (t k + log2(k) t n), counts the codebooks as
    numbers of one column and an index as many times as there are columns; a codeword has n numbers, and a row
    one index a stage."""
    return FLOAT_BITS * stages * codewords * columns + stages * rows * (codewords - 1).bit_length()


def svd_bits(rows: int, columns: int, rank: int) -> int:
    """32 k (m + n + 1) bits (section 3.1)."""
    return FLOAT_BITS * rank * (rows + columns + 1)
