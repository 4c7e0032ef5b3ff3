"""Every codec gives back, to the bit, the weights that its encoder states, and refuses damaged streams."""

import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs import batch_norm, binary, masks, product, pruned, raw, residual, scalar, svd, vector
from kestrel.sw.codecs.coding.indices import CODINGS, entropy_bits, pack, read_indices, unpack, write_indices
from kestrel.sw.codecs.coding.stream import Reader
from kestrel.sw.codecs.model_file import decode_array, model_bytes, read_model, write_model

warnings.filterwarnings("ignore", category=pytest.PytestUnraisableExceptionWarning)

VALUES = st.floats(-4, 4, width=32)
ANY = arrays(np.float32, array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5), elements=VALUES)
MATRICES = arrays(np.float32, st.tuples(st.integers(4, 9), st.integers(1, 9)), elements=VALUES)
KERNELS = arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 3), st.just(3), st.just(3)),
                 elements=VALUES) | arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(1), st.just(1)), elements=VALUES)
CODING = st.sampled_from(CODINGS)

FAMILIES = {
    "scalar": (ANY, st.builds(scalar.ScalarOptions, st.sampled_from(scalar.METHODS), st.integers(1, 4),
                              CODING), scalar),
    "vector": (ANY, st.builds(vector.VectorOptions, st.sampled_from(vector.BLOCKS), st.just(64), CODING),
               vector),
    "pruned": (ANY, st.builds(pruned.PrunedOptions, st.sampled_from([0.0, 0.5, 1.5, 9.0]), st.integers(1, 8),
                              st.integers(1, 8), CODING), pruned),
    "masks": (KERNELS, st.builds(masks.MaskOptions, st.integers(1, 5), CODING), masks),
    "product": (MATRICES, st.builds(product.ProductOptions, st.just(2), st.integers(1, 4), st.just("x")),
                product),
    "residual": (MATRICES, st.builds(residual.ResidualOptions, st.sampled_from([2, 4]), st.integers(1, 3)),
                 residual),
    "svd": (MATRICES, st.builds(svd.SvdOptions, st.just(1)), svd),
    "binary": (ANY, st.none(), binary),
    "batch-norm": (arrays(np.float32, st.tuples(st.just(4), st.integers(1, 20)), elements=VALUES),
                   st.sampled_from(batch_norm.BITS), batch_norm),
}
EXAMPLES = {"scalar": 500, "vector": 300, "pruned": 500, "masks": 200, "product": 150, "residual": 100,
            "svd": 150, "binary": 200, "batch-norm": 150}
QUICK = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def encoded(module, weights, options):
    """The stream, and the weights that the encoder states."""
    given = () if options is None else (options,)
    stated = module.quantise(weights, *given)
    return module.encode(weights, *given), stated if isinstance(stated, np.ndarray) else stated.weights()


def test_there_are_two_thousand_random_round_trips():
    assert sum(EXAMPLES.values()) >= 2000
    assert EXAMPLES.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_gives_what_the_encoder_states(family):
    weights, options, module = FAMILIES[family]
    seen = Counter()

    @settings(max_examples=EXAMPLES[family], deadline=None, suppress_health_check=QUICK, database=None)
    @given(weights, options)
    def holds(given_weights, chosen):
        stream, stated = encoded(module, given_weights, chosen)
        found = decode_array(stream)
        assert found.dtype == np.float32
        assert found.shape == given_weights.shape
        np.testing.assert_array_equal(found.view(np.uint32), stated.view(np.uint32))
        seen[family] += 1

    holds()
    assert seen[family] >= EXAMPLES[family] // 2  # less only where there are no more different ones


@pytest.mark.parametrize("largest", [1e-45, 1e-38, 1e-30])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_near_the_smallest_of_float32(family, largest, rng):
    module = FAMILIES[family][2]
    shape = {"product": (6, 4), "residual": (6, 4), "svd": (6, 4),
             "batch-norm": (4, 6)}.get(family, (2, 3, 3, 3))
    weights = (rng.integers(-1, 2, shape) * np.float32(largest)).astype(np.float32)
    options = {"product": product.ProductOptions(2, 2, "x"), "residual": residual.ResidualOptions(2, 2),
               "svd": svd.SvdOptions(1), "batch-norm": 4, "scalar": scalar.ScalarOptions(bits=2),
               "pruned": pruned.PrunedOptions(), "masks": masks.MaskOptions(1),
               "vector": vector.VectorOptions(codewords=64)}.get(family)
    stream, stated = encoded(module, weights, options)
    assert np.isfinite(stated).all()
    np.testing.assert_array_equal(decode_array(stream).view(np.uint32), stated.view(np.uint32))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_or_changed_stream_is_refused_in_one_line(family, rng):
    module = FAMILIES[family][2]
    weights = rng.standard_normal((4, 20) if family in {"product", "residual", "svd", "batch-norm"}
                                  else (3, 4, 3, 3)).astype(np.float32)
    options = {"product": product.ProductOptions(4, 3), "residual": residual.ResidualOptions(4, 2),
               "svd": svd.SvdOptions(3), "batch-norm": 4, "scalar": scalar.ScalarOptions(coding="huffman"),
               "pruned": pruned.PrunedOptions(coding="huffman"), "masks": masks.MaskOptions(),
               "vector": vector.VectorOptions(codewords=64)}.get(family)
    stream, _ = encoded(module, weights, options)
    damaged = [stream[:length] for length in range(0, len(stream), max(1, len(stream) // 40))]
    for place in rng.integers(0, len(stream), 40):
        changed = bytearray(stream)
        changed[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(changed))
    for one in (*damaged, stream + b"\0"):
        with pytest.raises(InputError) as refused:
            decode_array(one)
        assert "\n" not in str(refused.value)
        assert "allowed" in str(refused.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_body_that_does_not_fit_its_shape_is_refused(family, rng):
    """Whatever the bytes are, with a checksum that is right."""
    from kestrel.sw.codecs.coding.stream import seal

    module = FAMILIES[family][2]
    for _ in range(60):
        shape = tuple(int(side) for side in rng.integers(1, 6, int(rng.integers(1, 5))))
        stream = seal(family, shape, rng.bytes(int(rng.integers(0, 60))))
        try:
            found = module.decode(stream)
        except InputError as error:
            message = str(error)
        else:  # by chance a stream that an encoder could have written
            message = ""
            assert found.shape == shape
        assert "\n" not in message


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("codewords", [1, 2, 3, 64, 256])
def test_indices_come_back_and_huffman_is_near_the_entropy(coding, codewords, rng):
    indices = (rng.geometric(0.3, 3000) - 1) % codewords
    coded = write_indices(indices, codewords, coding)
    np.testing.assert_array_equal(read_indices(Reader(coded), len(indices), codewords), indices)
    bits = 8 * (len(coded) - 1)
    if coding == "huffman":
        # Huffman's code is less than a bit a symbol above the entropy; lengths and count are the header.
        assert entropy_bits(indices, codewords) <= bits
        assert bits < entropy_bits(indices, codewords) + len(indices) + 8 * (codewords + 5)
    else:
        assert bits == 8 * -(-len(indices) * (codewords - 1).bit_length() // 8)


@pytest.mark.parametrize("bits", [1, 3, 8, 12])
def test_packed_bits_are_as_short_as_they_say(bits, rng):
    values = rng.integers(0, 1 << bits, 101)
    data = pack(values, bits)
    assert len(data) == -(-101 * bits // 8)
    np.testing.assert_array_equal(unpack(data, 101, bits), values)


def test_a_model_file_comes_back_and_is_refused_when_cut():
    streams = {"a.weight": raw.encode(np.ones((2, 3), np.float32)),
               "b": binary.encode(np.ones(5, np.float32))}
    content = write_model(streams)
    assert read_model(content) == streams
    assert len(content) == model_bytes({key: len(stream) for key, stream in streams.items()})
    for length in range(len(content)):
        with pytest.raises(InputError, match="allowed"):
            read_model(content[:length])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: scalar.ScalarOptions("median"), "method 'median'; allowed: uniform, lloyd-max, kmeans"),
    (lambda: scalar.ScalarOptions(bits=9), "bits 9; allowed: 1..8"),
    (lambda: scalar.ScalarOptions(coding="zip"), "coding 'zip'; allowed: fixed, huffman"),
    (lambda: vector.VectorOptions(block=3), "block 3; allowed: 2, 4"),
    (lambda: vector.VectorOptions(codewords=100), "codewords 100; allowed: powers of two, 64..1024"),
    (lambda: product.ProductOptions(axis="z"), "axis 'z'; allowed: x, y"),
    (lambda: product.ProductOptions(segment=0), "segment 0; allowed: 1..64"),
    (lambda: residual.ResidualOptions(stages=9), "stages 9; allowed: 1..8"),
    (lambda: svd.quantise(np.zeros((2, 3), np.float32), svd.SvdOptions(3)), r"rank 3 of shape \(2, 3\)"),
    (lambda: pruned.PrunedOptions(threshold=-1), "threshold -1; allowed: 0..100"),
    (lambda: batch_norm.encode(np.ones((4, 2), np.float32), 3),
     "batch norm bits 3; allowed: 4, 5, 6, 7, 8, 32"),
    (lambda: masks.MaskOptions(6), "mask bits 6; allowed: 1..5"),
    (lambda: masks.quantise(np.ones((1, 1, 5, 5), np.float32), masks.MaskOptions()),
     "kernels of 1x1 and 3x3"),
])
def test_options_outside_their_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
