"""Proofs of the descriptor unit's arithmetic, and of the counters."""

from kestrel.hw.chip.control import Control
from kestrel.hw.common.isqrt import Isqrt
from kestrel.hw.control.counters import Counters
from kestrel.hw.descriptor.multiply import DescriptorMultiply
from kestrel.hw.descriptor.reciprocal import DescriptorReciprocal
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import DESCRIPTOR_SQUARES_BITS
from kestrel.hw.spec.status import COUNTERS
from kestrel.verif.proofs.proof import AllInputs, Induction, Proof


def _root_claims() -> str:
    """One claim a stage, from the registers of the stage before to its own.

    With r the root so far and l what is left, the number looked at so far is r^2 + l, and r is its root if
    l <= 2r. A stage finds two digits b, so that the root becomes 4r + b, and looks at four digits d more:
    what is left is then (16 (r^2 + l) + d) - (4r + b)^2 = 16 l + d - 8rb - b^2, in which r^2 no longer
    occurs.
    """
    stages = DESCRIPTOR_SQUARES_BITS // 4
    text = ""
    for n in range(stages):
        rest_bits = DESCRIPTOR_SQUARES_BITS - 4 * (n + 1)
        root = f"root_{n}" if n < stages - 1 else "root"
        before_root = "20'd0" if n == 0 else f"past_root_{n - 1}"
        before_left = "20'd0" if n == 0 else f"past_left_{n - 1}"
        digits = "past_square[31:28]" if n == 0 else f"past_rest_{n - 1}[{rest_bits + 3}:{rest_bits}]"
        allowed = "1" if n == 0 else f"({before_left} <= 2 * {before_root})"
        kept = ""
        if n < stages - 1:
            source = "past_square" if n == 0 else f"past_rest_{n - 1}"
            kept = f"always @* assert (rest_{n} == {source}[{rest_bits - 1}:0]);"
        text += f"""
        wire [39:0] r_{n} = {before_root};
        wire [39:0] l_{n} = {before_left};
        wire [39:0] b_{n} = {root}[1:0];
        wire [39:0] now_{n} = left_{n};
        always @* if ({allowed}) assert ({root} == 4 * r_{n} + b_{n});
        always @* if ({allowed})
            assert (now_{n} + 8 * r_{n} * b_{n} + b_{n} * b_{n} == 16 * l_{n} + {digits});
        always @* if ({allowed}) assert (now_{n} <= 2 * {root});
        {kept}
        """
    return text


ROOT = Proof(
    name="square-root",
    says="Every stage of the root takes two digits that keep root^2 <= number < (root + 1)^2 of the digits "
    "looked at, for every number; so the last stage's root is the number's, rounded down.",
    make=lambda: Isqrt(DESCRIPTOR_SQUARES_BITS),
    claims=_root_claims(),
    method=AllInputs(1),
    fault=(r"(root_3 <= \{root_2, ~less_3_0\[9\], )~(less_3_1\[10\]\})", r"\1\2"),
)

RECIPROCAL = Proof(
    name="reciprocal",
    says="57 cycles after go the amount is the place p of the total's highest one, and for every total but 0 "
    "reciprocal x T' + rest = 2^48 - 1 with rest < T', T' the total shifted by p: R is the quotient.",
    make=DescriptorReciprocal,
    claims="""
        // What the unit requires of its neighbours: nothing is added while it works.
        always @* assume (steps == 0 || !(add || clear || go));
        reg active;  // go was seen, and since then no reset and no other total
        reg [40:0] asked;
        reg [5:0] since;
        wire [40:0] sum = clear ? 41'h0 : add ? total + value : total;
        always @(posedge clk) begin
            if (rst) active <= 0;
            else if (go) active <= 1;
            else if (add || clear) active <= 0;
            if (go) asked <= sum;
            since <= go ? 0 : since == 57 ? 57 : since + 1;
        end
        always @* if (active) assert (since + steps == 57);
        always @* if (past_rst) assert (steps == 0 && !done);
        always @* assert (steps <= 57);
        always @* if (!active) assert (steps == 0);
        always @* if (!past_rst) assert (done == (past_steps == 1));
        // The total moves up until its highest bit is one; nothing falls out.
        wire [5:0] moved = 40 - amount;
        always @* if (active) assert (amount <= 40);
        always @* if (active) assert (total == asked << moved && total >> moved == asked);
        always @* if (active && !total[40] && steps > 17) assert (amount == steps - 17);
        always @* if (active && !total[40] && steps <= 17) assert (amount == 0 && asked == 0);
        always @* if (active && asked != 0 && steps <= 17) assert (asked >> amount == 1);
        // The product of the digits found and T', a digit at a time.
        wire [31:0] divisor = total[40:9];
        reg divided;
        reg [48:0] before_digit;
        wire [48:0] product = divided ? 2 * before_digit + (reciprocal[0] ? divisor : 0) : before_digit;
        always @(posedge clk) begin
            divided <= !rst && steps != 0 && steps <= 17;
            before_digit <= go ? 0 : product;
        end
        wire [5:0] found = steps > 17 ? 0 : 17 - steps;
        always @* if (active && steps >= 17) assert (!divided && product == 0 && left == 31'h7fffffff);
        always @* if (active && asked != 0 && steps <= 17)
            assert (product + left == (49'h1 << (31 + found)) - 1);
        always @* if (active && asked != 0 && steps <= 17) assert (left < divisor);
    """,
    method=Induction(1),
    fault=(r"left <= 32'h7fffffff", "left <= 32'hffffffff"),
)

MULTIPLY = Proof(
    name="descriptor-multiply",
    says="The product is the shifted number's low partial product plus the high one in its place, for every "
    "number, shift and factor.",
    make=DescriptorMultiply,
    claims="""
        wire [63:0] wide = x;
        wire [63:0] moved = (wide << 31) >> amount;
        wire [48:0] low_part = shifted * y[7:0];
        wire [48:0] high_part = shifted * y[16:8];
        always @* assert (shifted == past_moved[31:0]);
        always @* assert (product == past_past_low_part + (past_past_high_part << 8));
    """,
    method=AllInputs(2),
    fault=(r"product <= .*;", "product <= {10'h0, low} + {high, 7'h0};"),
)


def _counter_claims() -> str:
    """Sum by sum, because adding eight numbers at once is too much for a solver: the counts of the first k
    kinds are those of the first k - 1 and that of kind k."""
    kinds = COUNTERS[1:]
    text = """
        always @* assume ((events & (events - 1'b1)) == 0);
        always @* assume (busy || events == 0);
        wire [6:0] kinds = {busy & ~|events, events};
        reg [31:0] of_0;
        always @(posedge clk) if (rst) of_0 <= 0;
        always @* assert (of_0 == 0);
    """
    for k, kind in enumerate(kinds, 1):
        text += f"""
        reg [31:0] of_{k};
        always @(posedge clk)
            if (rst | start) of_{k} <= 0;
            else if (|kinds[{k - 1}:0]) of_{k} <= of_{k} + 1;
        always @* assert (of_{k} == of_{k - 1} + count_{kind});
        """
    return text + f"always @* assert (count_busy == of_{len(kinds)});"


COUNTERS_ADD_UP = Proof(
    name="counters",
    says="The count of busy cycles is at all times the sum of the counts of what the cycles went into, where "
    "at most one event comes in a cycle and none outside a frame.",
    make=Counters,
    claims=_counter_claims(),
    method=Induction(1),
    fault=(r"busy & ~\(\|events\)", "busy & ~(|events[4:0])"),
)

FRAMES_COUNTED = Proof(
    name="frames-counted",
    says="The chip's count of frames is 0 after a reset and one more after each frame that has ended well, "
    "modulo 2**32.",
    make=lambda: Control(ChipConfig(NAMED["edge"])),
    claims="""
        always @* if (past_rst) assert (frames == 0);
        always @* if (!past_rst) assert (frames == past_frames + past_core_done);
    """,
    method=Induction(1),
    fault=(r"frames \+ 32'h1\b", "frames + 32'h3"),
)

PROOFS = (ROOT, RECIPROCAL, MULTIPLY, COUNTERS_ADD_UP, FRAMES_COUNTED)
