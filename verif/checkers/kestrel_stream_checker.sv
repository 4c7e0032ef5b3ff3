// The rules of a VALID/READY handshake, for simulation only (Verilator --assert).
module kestrel_stream_checker #(
    parameter WIDTH = 1
) (
    input wire             clk,
    input wire             rst,
    input wire             valid,
    input wire             ready,
    input wire [WIDTH-1:0] payload
);
    reg armed = 0;  // from the first reset on; what was before may be anything

    always @(posedge clk)
        if (rst)
            armed <= 1;

    reset_silent: assert property (@(posedge clk) rst |=> !valid)
        else $error("AXI: VALID during or right after a reset");
    stays_valid: assert property (@(posedge clk) disable iff (rst || !armed) valid && !ready |=> valid || rst)
        else $error("AXI: VALID was withdrawn before READY");
    stays_equal: assert property (@(posedge clk) disable iff (rst || !armed) valid && !ready |=> $stable(payload) || rst)
        else $error("AXI: the payload changed before READY");
endmodule
