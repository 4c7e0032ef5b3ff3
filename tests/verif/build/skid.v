// A one-place buffer between two streams: the smallest design that a bench can exercise.
module skid(
    input            clk,
    input            rst,
    input      [7:0] i__payload,
    input            i__valid,
    output           i__ready,
    output reg [7:0] o__payload,
    output reg       o__valid,
    input            o__ready
);
    assign i__ready = ~o__valid | o__ready;

    always @(posedge clk) begin
        if (i__ready) begin
            o__valid <= i__valid;
            o__payload <= i__payload;
        end
        if (rst) o__valid <= 1'b0;
    end
endmodule
