"""Proofs of the chip's ports: AXI4-Lite, the two AXI4-Streams, and what packs bytes into words."""

from kestrel.hw.chip.axi_lite import AxiLite
from kestrel.hw.chip.byte_packer import BytePacker
from kestrel.hw.chip.stream_input import StreamInput
from kestrel.hw.chip.stream_output import StreamOutput
from kestrel.hw.spec.configurations import NAMED
from kestrel.verif.proofs.proof import Induction, Proof

CONFIG = NAMED["edge"]


def _stays(valid: str, ready: str, payload: str) -> str:
    """``valid`` stays until ``ready``, and the fields of the payload with it; none right after a reset."""
    now, before = payload.replace(" ", ", "), ", ".join(f"past_{field}" for field in payload.split())
    waits = f"!past_rst && past_{valid} && !past_{ready}"
    return f"""
        always @* if (past_rst) assert (!{valid});
        always @* if ({waits}) assert ({valid});
        always @* if ({waits}) assert ({{{now}}} == {{{before}}});
    """


AXI_LITE = Proof(
    name="axi-lite",
    says="The register port answers every write and every read once and in order, OKAY or SLVERR; VALID and "
    "payload of an answer stay until READY; three cycles after a request is complete and the last answer "
    "taken, its answer is there.",
    make=AxiLite,
    claims=_stays("s_axil_bvalid", "s_axil_bready", "s_axil_bresp")
    + _stays("s_axil_rvalid", "s_axil_rready", "s_axil_rdata s_axil_rresp")
    + """
        // Requests taken and not yet answered.
        reg [7:0] addresses, words, reads;
        always @(posedge clk)
            if (rst) begin
                addresses <= 0; words <= 0; reads <= 0;
            end else begin
                addresses <= addresses + (s_axil_awvalid & s_axil_awready) - (s_axil_bvalid & s_axil_bready);
                words <= words + (s_axil_wvalid & s_axil_wready) - (s_axil_bvalid & s_axil_bready);
                reads <= reads + (s_axil_arvalid & s_axil_arready) - (s_axil_rvalid & s_axil_rready);
            end
        always @* assert (addresses == has_address + s_axil_bvalid);
        always @* assert (words == has_data + s_axil_bvalid);
        always @* assert (reads == has_read + s_axil_rvalid);
        always @* assert (!s_axil_bresp[0] && !s_axil_rresp[0]);
        // What keeps them in step.
        always @* assert (!answering || (has_address && has_data && !s_axil_bvalid));
        always @* assert (waiting != 3);
        always @* assert (waiting == 0 || (has_read && !s_axil_rvalid));
        // The registers are asked once a request, and their answer is passed on.
        always @* if (!past_rst && past_answering)
            assert (s_axil_bvalid && s_axil_bresp[1] == past_write_fault);
        always @* if (!past_rst && past_write) assert (answering);
        always @* if (!past_rst && past_waiting[1])
            assert (s_axil_rvalid && s_axil_rdata == past_rdata && s_axil_rresp[1] == past_read_fault);
        always @* if (!past_rst && past_read) assert (waiting == 1);
        always @* if (has_address && has_data && !s_axil_bvalid && !answering) assert (write);
        always @* if (has_read && !s_axil_rvalid && waiting == 0) assert (read);
        // The request is the one that was made.
        reg [9:0] write_address, read_address;
        reg [35:0] written;
        always @(posedge clk) begin
            if (s_axil_awvalid && s_axil_awready) write_address <= s_axil_awaddr[11:2];
            if (s_axil_wvalid && s_axil_wready) written <= {s_axil_wstrb, s_axil_wdata};
            if (s_axil_arvalid && s_axil_arready) read_address <= s_axil_araddr[11:2];
        end
        always @* if (has_address) assert (waddr == write_address);
        always @* if (has_data) assert ({wstrb, wdata} == written);
        always @* if (has_read) assert (raddr == read_address);
    """,
    method=Induction(1),
    fault=(r"has_address & has_data & ~answering & ~s_axil_bvalid", "has_address & has_data & ~answering"),
)  # fmt: skip

OUTPUT_STAYS = Proof(
    name="stream-output-stays",
    says="A beat that the chip's output offers stays, unchanged, until it is taken, whatever the core does "
    "and whether it gives up.",
    make=lambda: StreamOutput(CONFIG),
    claims=_stays("m_axis_tvalid", "m_axis_tready", "m_axis_tdata m_axis_tkeep m_axis_tlast") + """
        always @* assert (!slice_full || m_axis_tvalid);
    """,
    method=Induction(1),
    fault=(r"(wire condition =) ~m_axis_tvalid \| m_axis_tready;", r"\1 1'b1;"),
)


def _order(payload: str, enters: str, out_valid: str, leaves: str, width: int) -> str:
    """What enters a register slice leaves it, once and in order: beat number n, for every n."""
    return f"""
        (* anyconst *) wire [15:0] n;
        reg [15:0] entered, left;
        reg [{width - 1}:0] watched;
        always @(posedge clk)
            if (rst) begin
                entered <= 0; left <= 0;
            end else begin
                entered <= entered + ({enters});
                left <= left + ({leaves});
                if (({enters}) && entered == n) watched <= {payload};
            end
        wire [15:0] inside_slice = entered - left;
        wire [15:0] following = left + 1;
        always @* assert (inside_slice == {out_valid} + slice_full);
        always @* assert (!slice_full || {out_valid});
        always @* if ({out_valid} && left == n) assert (slice_out == watched);
        always @* if (slice_full && following == n) assert (slice_held == watched);
    """


_OUTPUT_BITS = 9 * CONFIG.word_lanes + 1

OUTPUT_ORDER = Proof(
    name="stream-output-order",
    says="The chip's output loses, doubles, swaps and invents no beat: what leaves is what the core gave, in "
    "order, and one beat without bytes that ends a packet which the core gave up.",
    make=lambda: StreamOutput(CONFIG),
    claims=_order("payload", "valid & ~slice_full", "m_axis_tvalid", "m_axis_tvalid & m_axis_tready",
                  _OUTPUT_BITS) + f"""
        always @* assert ((from_tvalid & from_tready) == (valid & ~slice_full & ~unclosed));
        always @* if (!unclosed) assert (payload == {{from_tlast, from_tkeep, from_tdata}});
        always @* if (unclosed) assert (payload == {{1'b1, {_OUTPUT_BITS - 1}'h0}});
        // A packet is closed only where one has begun and not ended.
        reg open;
        always @(posedge clk)
            if (rst) open <= 0;
            else if (valid & ~slice_full) open <= ~payload[{_OUTPUT_BITS - 1}];
        always @* assert (!unclosed || open);
        always @* assert (open == inside_);
    """,
    method=Induction(1),
    fault=(r"(from_tready = ~slice_full) & ~unclosed", r"\1"),
)  # fmt: skip

_INPUT_BITS = 8 * CONFIG.stream_bytes + 1

INPUT_ORDER = Proof(
    name="stream-input-order",
    says="The chip's input loses, doubles, swaps and invents no beat: the core gets what was sent, in order, "
    "but for the rest of a frame that it gave up, which ends with its TLAST.",
    make=lambda: StreamInput(CONFIG),
    claims=_order("{s_axis_tlast, s_axis_tdata}", "s_axis_tvalid & s_axis_tready", "slice_valid",
                  "slice_valid & take", _INPUT_BITS) + f"""
        always @* assert (to_tvalid == (slice_valid & ~draining));
        always @* if (to_tvalid) assert ({{to_tlast, to_tdata}} == slice_out);
        always @* if (!draining) assert (take == to_tready);
        // Draining ends with the beat that ends the frame, and not before.
        always @* if (!past_rst && past_draining && !past_abort)
            assert (draining == !(past_slice_valid && past_slice_out[{_INPUT_BITS - 1}]));
        // Only an abort begins it.
        always @* if (past_rst || (!past_draining && !past_abort)) assert (!draining);
    """,
    method=Induction(1),
    fault=(r"slice_full \? slice_held :", "slice_valid ? slice_held :"),
)  # fmt: skip

_LANES = CONFIG.word_lanes
_COUNT_BITS = _LANES.bit_length()

PACKER = Proof(
    name="byte-packer",
    says="Every byte leaves once, in order, under its TKEEP; only a packet's last word has fewer bytes than "
    "lanes, TLAST comes with the last byte and nowhere else, and a word stays until it is taken.",
    make=lambda: BytePacker(CONFIG),
    claims=_stays("o_tvalid", "o_tready", "o_tdata o_tkeep o_tlast") + f"""
        (* anyconst *) wire [15:0] n;
        reg [15:0] entered, left;
        reg [7:0] watched;
        reg watched_last;
        integer i;
        reg [{_COUNT_BITS - 1}:0] kept;  // bytes of the word
        always @* begin
            kept = 0;
            for (i = 0; i < {_LANES}; i = i + 1) kept = kept + o_tkeep[i];
        end
        wire [{_COUNT_BITS - 1}:0] held = o_tvalid ? kept : lane;  // bytes in the block
        always @(posedge clk)
            if (rst) begin
                entered <= 0; left <= 0;
            end else begin
                if (i_tvalid & i_tready) entered <= entered + 1;
                if (o_tvalid & o_tready) left <= left + kept;
                if (i_tvalid & i_tready && entered == n) begin
                    watched <= i_tdata; watched_last <= i_tlast;
                end
            end
        wire [15:0] place = n - left;  // of the watched byte in the word
        wire [15:0] inside_word = entered - left;
        always @* assert (inside_word == held);
        always @* if (o_tvalid) assert (kept != 0 && lane == 0);
        always @* if (o_tvalid || lane != 0) assert (o_tkeep == (1 << held) - 1);
        always @* for (i = 0; i < {_LANES}; i = i + 1) begin
            if (i < held && place == i) assert (o_tdata[8 * i +: 8] == watched);
            if (i >= held && o_tvalid) assert (o_tdata[8 * i +: 8] == 0);
            if (i >= held && lane != 0) assert (o_tdata[8 * i +: 8] == 0);
        end
        always @* if (place + 1 < held || (!o_tvalid && place < held)) assert (!watched_last);
        always @* if (o_tvalid && place + 1 == held) assert (o_tlast == watched_last);
        always @* if (o_tvalid && !o_tlast) assert (kept == {_LANES});
    """,
    method=Induction(1),
    fault=(r"(?m)^        lane <= lane \+ .*$", "        if (o_tkeep != 0) lane <= lane + 1;"),
)

PROOFS = (AXI_LITE, OUTPUT_STAYS, OUTPUT_ORDER, INPUT_ORDER, PACKER)
