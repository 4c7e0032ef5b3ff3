// The rules of an AXI4-Lite port, for simulation only (Verilator --assert): handshakes of all five channels,
// an answer for every request and none without.
module kestrel_axi_lite_checker #(
    parameter ADDRESS_BITS = 12
) (
    input wire                    clk,
    input wire                    rst,
    input wire [ADDRESS_BITS-1:0] awaddr,
    input wire                    awvalid,
    input wire                    awready,
    input wire [31:0]             wdata,
    input wire [3:0]              wstrb,
    input wire                    wvalid,
    input wire                    wready,
    input wire [1:0]              bresp,
    input wire                    bvalid,
    input wire                    bready,
    input wire [ADDRESS_BITS-1:0] araddr,
    input wire                    arvalid,
    input wire                    arready,
    input wire [31:0]             rdata,
    input wire [1:0]              rresp,
    input wire                    rvalid,
    input wire                    rready
);
    reg armed = 0;  // from the first reset on; what was before may be anything

    always @(posedge clk)
        if (rst)
            armed <= 1;

    kestrel_stream_checker #(.WIDTH(ADDRESS_BITS)) aw (
        .clk(clk), .rst(rst), .valid(awvalid), .ready(awready), .payload(awaddr));
    kestrel_stream_checker #(.WIDTH(36)) w (
        .clk(clk), .rst(rst), .valid(wvalid), .ready(wready), .payload({wdata, wstrb}));
    kestrel_stream_checker #(.WIDTH(2)) b (
        .clk(clk), .rst(rst), .valid(bvalid), .ready(bready), .payload(bresp));
    kestrel_stream_checker #(.WIDTH(ADDRESS_BITS)) ar (
        .clk(clk), .rst(rst), .valid(arvalid), .ready(arready), .payload(araddr));
    kestrel_stream_checker #(.WIDTH(34)) r (
        .clk(clk), .rst(rst), .valid(rvalid), .ready(rready), .payload({rdata, rresp}));

    integer addresses = 0, words = 0, reads = 0;  // taken and not yet answered

    always @(posedge clk)
        if (rst) begin
            addresses <= 0;
            words <= 0;
            reads <= 0;
        end else begin
            addresses <= addresses + 32'(awvalid && awready) - 32'(bvalid && bready);
            words <= words + 32'(wvalid && wready) - 32'(bvalid && bready);
            reads <= reads + 32'(arvalid && arready) - 32'(rvalid && rready);
        end

    write_asked: assert property (@(posedge clk) disable iff (rst || !armed) bvalid |-> addresses > 0 && words > 0)
        else $error("AXI: a write answer without a write");
    read_asked: assert property (@(posedge clk) disable iff (rst || !armed) rvalid |-> reads > 0)
        else $error("AXI: read data without a read");
    known_write_answers: assert property (@(posedge clk) disable iff (rst || !armed) bvalid |-> !bresp[0])
        else $error("AXI: an answer other than OKAY and SLVERR");
    known_read_answers: assert property (@(posedge clk) disable iff (rst || !armed) rvalid |-> !rresp[0])
        else $error("AXI: an answer other than OKAY and SLVERR");
endmodule
