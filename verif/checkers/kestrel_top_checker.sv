// Ties the checkers to the chip's ports, its masters' side included.
bind kestrel_top kestrel_axi_lite_checker #(.ADDRESS_BITS($bits(s_axil_awaddr))) check_s_axil (
    .clk(clk), .rst(rst),
    .awaddr(s_axil_awaddr), .awvalid(s_axil_awvalid), .awready(s_axil_awready),
    .wdata(s_axil_wdata), .wstrb(s_axil_wstrb), .wvalid(s_axil_wvalid), .wready(s_axil_wready),
    .bresp(s_axil_bresp), .bvalid(s_axil_bvalid), .bready(s_axil_bready),
    .araddr(s_axil_araddr), .arvalid(s_axil_arvalid), .arready(s_axil_arready),
    .rdata(s_axil_rdata), .rresp(s_axil_rresp), .rvalid(s_axil_rvalid), .rready(s_axil_rready));
bind kestrel_top kestrel_stream_checker #(.WIDTH($bits(s_axis_tdata) + 1)) check_s_axis (
    .clk(clk), .rst(rst), .valid(s_axis_tvalid), .ready(s_axis_tready),
    .payload({s_axis_tlast, s_axis_tdata}));
bind kestrel_top kestrel_stream_checker #(.WIDTH($bits(m_axis_tdata) + $bits(m_axis_tkeep) + 1)) check_m_axis (
    .clk(clk), .rst(rst), .valid(m_axis_tvalid), .ready(m_axis_tready),
    .payload({m_axis_tlast, m_axis_tkeep, m_axis_tdata}));
