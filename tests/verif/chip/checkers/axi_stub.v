// Breaks the rules of AXI on purpose, one by `MODE`, to show that the checkers see it. MODE 0 keeps them.
module kestrel_top (
    input  wire        clk,
    input  wire        rst,
    input  wire [11:0] s_axil_awaddr,
    input  wire        s_axil_awvalid,
    output wire        s_axil_awready,
    input  wire [31:0] s_axil_wdata,
    input  wire [3:0]  s_axil_wstrb,
    input  wire        s_axil_wvalid,
    output wire        s_axil_wready,
    output wire [1:0]  s_axil_bresp,
    output wire        s_axil_bvalid,
    input  wire        s_axil_bready,
    input  wire [11:0] s_axil_araddr,
    input  wire        s_axil_arvalid,
    output wire        s_axil_arready,
    output wire [31:0] s_axil_rdata,
    output wire [1:0]  s_axil_rresp,
    output wire        s_axil_rvalid,
    input  wire        s_axil_rready,
    input  wire [7:0]  s_axis_tdata,
    input  wire        s_axis_tvalid,
    input  wire        s_axis_tlast,
    output wire        s_axis_tready,
    output wire [15:0] m_axis_tdata,
    output wire [1:0]  m_axis_tkeep,
    output wire        m_axis_tlast,
    output wire        m_axis_tvalid,
    input  wire        m_axis_tready
);
    reg [4:0] count;

    always @(posedge clk)
        count <= rst ? 5'd0 : count == 5'd31 ? count : count + 5'd1;

    wire late = count > 5'd12;
    assign s_axil_awready = 1'b1;
    assign s_axil_wready = 1'b1;
    assign s_axil_arready = 1'b1;
    assign s_axis_tready = 1'b1;
    assign s_axil_bvalid = `MODE == 5 || `MODE == 8 ? late : 1'b0;
    assign s_axil_bresp = `MODE == 8 ? 2'd3 : 2'd0;
    assign s_axil_rvalid = `MODE == 6 || `MODE == 9 ? late : 1'b0;
    assign s_axil_rresp = `MODE == 9 ? 2'd1 : 2'd0;
    assign s_axil_rdata = 32'd0;
    assign m_axis_tvalid = (`MODE == 1 ? count > 5'd4 && !late : `MODE == 7 ? 1'b1 : count > 5'd4);
    assign m_axis_tdata = `MODE == 2 && late ? 16'd2 : 16'd1;
    assign m_axis_tkeep = `MODE == 3 && late ? 2'd1 : 2'd3;
    assign m_axis_tlast = `MODE == 4 && late;
endmodule
