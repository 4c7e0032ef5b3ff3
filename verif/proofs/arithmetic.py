"""Proofs of the array's arithmetic: digits, kernel unit, requantiser, pooling."""

from dataclasses import replace

from kestrel.hw.compute.kernel_decoder import DigitDecoder
from kestrel.hw.compute.kernel_unit import KernelUnit
from kestrel.hw.compute.pool import PoolLane
from kestrel.hw.compute.requantise import requantise_lane
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import EngineConfig, product_bits, tap_sum_bits
from kestrel.hw.spec.masks import PASSES
from kestrel.hw.spec.widths import BIAS_FRACTION, SCALAR_BITS, SHIFT_MAX, SHIFT_MIN, TAPS
from kestrel.verif.proofs.proof import AllInputs, Proof

CONFIG = NAMED["edge"]
_A, _DIGIT, _TOP = CONFIG.activation_bits, CONFIG.digit_bits, CONFIG.activation_bits + 2

_VALUES = {
    1: "low[0] ? -1 : 1",
    2: "low[1] ? -low[0] : low[0]",
    3: "low[2] ? -power : power",
    4: "low[3] ? -low[2:0] : low[2:0]",
    5: "low[4] ? -low[3:0] : low[3:0]",
}
"""The value of a mask code, ``low``, of so many bits, as docs/arithmetic.md defines it; ``power`` is 0, 1, 2
or 4 by the lowest two bits."""


def _decoder_claims(config: EngineConfig) -> str:
    digit = config.digit_bits
    text = f"""
        module proof (input [{config.mask_bits_max - 1}:0] code, input [2:0] mask_bits);
            integer low, power, value, found;
            function integer decoded (input [{digit - 1}:0] register);
                decoded = register[1:0] == 0 ? 0 : register[{digit - 1}] ? -(1 << register[1:0]) / 2 :
                    (1 << register[1:0]) / 2;
            endfunction
    """
    for n in range(config.passes_max):
        text += f"""
            wire [{digit - 1}:0] value_{n};
            kestrel_digit_decoder digit_{n} (
                .code(code), .mask_bits(mask_bits), .digit(2'd{n}), .value(value_{n}));
        """
    for bits in config.mask_widths:
        digits = " + ".join(f"{1 << n} * decoded(value_{n})" for n in range(PASSES[bits]))
        minus = " && ".join(f"value_{n} != 3'b100" for n in range(PASSES[bits]))
        text += f"""
            always @* begin : width_{bits}
                reg signed [31:0] low;
                reg signed [31:0] power;
                low = {{27'h0, code[{bits - 1}:0]}};
                power = low[1:0] == 0 ? 0 : 1 << (low[1:0] - 1);
                if (mask_bits == {bits}) assert ({digits} == ({_signed(_VALUES[bits])}));
                if (mask_bits == {bits}) assert ({minus});
            end
        """
    return text + "endmodule\n"


def _signed(value: str) -> str:
    """The expression with its parts of ``low`` as numbers with a sign: a part alone has none."""
    for part in ("low[3:0]", "low[2:0]"):
        value = value.replace(f"-{part}", f"-$signed({{1'b0, {part}}})")
        value = value.replace(f": {part}", f": $signed({{1'b0, {part}}})")
    return value.replace("? -low[0] : low[0]", "? -$signed({1'b0, low[0]}) : $signed({1'b0, low[0]})")


DECODER = Proof(
    name="digit-decoder",
    says="For every mask code of every width the digits, each times its power of two, add up to the mask's "
    "value, and no digit is minus zero.",
    make=lambda: DigitDecoder(CONFIG),
    claims=_decoder_claims(CONFIG),
    method=AllInputs(),
    fault=(r"4'h3:\s+value_of = 3'h5", "4'h3: value_of = 3'h6"),
    around=True,
)

TAPS_EXACT = Proof(
    name="kernel-unit-taps",
    says="Each of the nine taps gives its digit times its activation, for every digit and every activation.",
    make=lambda: KernelUnit(CONFIG),
    claims="".join(
        f"""
        always @* assert (magnitude_{n} == (digits[{_DIGIT * n} +: 2] == 0 ? 0 :
            window[{_A * n} +: {_A}] * (1 << (digits[{_DIGIT * n} +: 2] - 1))));
        """
        for n in range(TAPS)
    ),
    method=AllInputs(),
    fault=(r"(digits\[10:9\] == 2'h2 \? )\{1'b0, window\[31:24\], 1'b0\}", r"\1{2'h0, window[31:24]}"),
)



def _tree(term: str, carry: str, bits: int) -> str:
    """The sum of nine terms and nine carries, less the signs' constant, in the order of the unit's adders."""
    t, c = [f"{term}_{n}" for n in range(TAPS)], [f"{carry}_{n}" for n in range(TAPS)]
    rows = [
        f"((({t[r]} + {t[r + 1]}) + ({t[r + 2]} + {c[r]})) + ({c[r + 1]} + {c[r + 2]}))"
        for r in range(0, TAPS, 3)
    ]
    return f"{' + '.join(rows)} - {bits}'d{TAPS << _TOP}"


def _tap_sum_claims() -> str:
    """In three steps, because the sum as a whole is too much for a solver: what each tap adds is its
    magnitude with its sign; the unit's adders give what such a tree gives with full width everywhere; and
    there, whatever is added, the order does not matter."""
    bits = tap_sum_bits(CONFIG)
    word = f"wire [{bits - 1}:0]"
    text = ""
    for n in range(TAPS):
        text += f"""
        wire negative_{n} = digits[{_DIGIT * n + _DIGIT - 1}];
        {word} term_{n} = {{~negative_{n}, magnitude_{n} ^ {{{_TOP}{{negative_{n}}}}}}};
        {word} carry_{n} = negative_{n};
        {word} size_{n} = magnitude_{n};
        always @*
            assert (term_{n} + carry_{n} - {bits}'d{1 << _TOP} == (negative_{n} ? -size_{n} : size_{n}));
        (* anyseq *) {word} any_term_{n};
        (* anyseq *) {word} any_carry_{n};
        """
    total = " + ".join(f"(any_term_{n} + any_carry_{n} - {bits}'d{1 << _TOP})" for n in range(TAPS))
    return text + f"""
        {word} tree = {_tree("term", "carry", bits)};
        {word} any_tree = {_tree("any_term", "any_carry", bits)};
        {word} any_total = {total};
        always @* assert (tap_sum == past_tree);
        always @* assert (any_tree == any_total);
    """


TAP_SUM = Proof(
    name="kernel-unit-tap-sum",
    says="The tap sum is the sum of the nine magnitudes, each with its digit's sign, for all magnitudes.",
    make=lambda: KernelUnit(CONFIG),
    claims=_tap_sum_claims(),
    method=AllInputs(1),
    cut=tuple(f"magnitude_{n}" for n in range(TAPS)),
    fault=(r"\{11'h0, digits\[11\]\}", "{11'h0, digits[2]}"),
)

PRODUCT = Proof(
    name="kernel-unit-product",
    says="The product is the tap sum, its sign bit counting negative, times the scalar, for all of both.",
    make=lambda: KernelUnit(CONFIG),
    claims=f"""
        wire [{product_bits(CONFIG) - 1}:0] below = tap_sum[{tap_sum_bits(CONFIG) - 2}:0];
        wire [{product_bits(CONFIG) - 1}:0] wanted =
            below * alpha - (tap_sum[{tap_sum_bits(CONFIG) - 1}] ? alpha << {tap_sum_bits(CONFIG) - 1} : 0);
        always @* assert (product == past_wanted);
    """,
    method=AllInputs(1),
    fault=(r"-\{1'b0, alpha & ", "-{1'b0, alpha | "),
)

SIGNED_PRODUCT = replace(
    PRODUCT,
    name="kernel-unit-signed-product",
    says="The same, held to a multiplication of numbers with signs.",
    claims=f"""
        wire signed [{product_bits(CONFIG) - 1}:0] wanted =
            $signed(tap_sum) * $signed({{1'b0, alpha[{SCALAR_BITS - 1}:0]}});
        always @* assert (product == past_wanted);
    """,
    slow=True,
)


def _requantised(value: str, bias: str) -> str:
    """``quotient`` is what bias, rounding and shift make of ``value`` as they were two edges ago, and
    ``limit`` the maximum, in 64 bits, where nothing overflows."""
    return f"""
        wire signed [63:0] wide_value = $signed({value});
        wire signed [63:0] wide_bias = $signed({bias});
        wire signed [63:0] numerator = wide_value + (wide_bias <<< (shift - {BIAS_FRACTION}))
            + (64'sd1 <<< (shift - 1));
        wire signed [63:0] quotient = $signed(past_past_numerator) >>> shift;
        wire signed [63:0] limit = {{1'b0, maximum}};
        always @* assume (shift >= {SHIFT_MIN} && shift <= {SHIFT_MAX});
        always @* assume (shift == past_shift && shift == past_past_shift);
        always @* assume ((maximum & (maximum + 1'b1)) == 0);
        always @* assume (maximum == past_maximum);
        always @* assume (numerator >= -64'sd2147483648 && numerator <= 64'sd2147483647);
    """


REQUANTISE = Proof(
    name="requantiser",
    says="A lane's result is clamp((acc + bias 2^(s-F) + 2^(s-1)) >> s, 0, maximum), for every accumulator, "
    "bias, shift and maximum with which the sum keeps to 32 bits.",
    make=lambda: requantise_lane(CONFIG),
    claims=_requantised("acc", "bias_2") + """
        always @* assert (y == (quotient < 0 ? 0 : quotient > limit ? maximum : quotient[31:0]));
    """,
    method=AllInputs(2),
    fault=(r"bias_2\} \+ 13'h4", "bias_2} + 13'h3"),
)  # fmt: skip

POOL = Proof(
    name="pooling-lane",
    says="Across is the larger of this result and the one before, pooled the larger of that and, in an odd "
    "row, of the row above; without a pixel before, across is the result itself; a kept maximum counts on.",
    make=lambda: PoolLane(8, residual=True),
    claims="""
        wire [7:0] before_this = past_keep ? past_across : past_y;
        wire [7:0] largest = alone || y > before_this ? y : before_this;
        always @* assert (across == largest);
        always @* assert (pooled == (lower && above > largest ? above : largest));
    """,
    method=AllInputs(1),
    fault=(r"lower & \(above > across\)", "lower & (above > y)"),
)

PROOFS = (DECODER, TAPS_EXACT, TAP_SUM, PRODUCT, SIGNED_PRODUCT, REQUANTISE, POOL)
