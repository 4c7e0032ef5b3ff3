// The frame of engine.cpp for any Verilog simulator: slower, but a second opinion, and with unknown (x)
// values at power-up. Sizes come as macros; files are read from and written to the working folder.
`timescale 1ns / 1ps

module engine_tb;
`ifdef LATE
    reg clk, rst, start;

    initial begin
        clk = 0;
        rst = 1;
        start = 0;
    end
`else
    reg clk = 0;
    reg rst = 1;
    reg start = 0;
`endif
    wire busy, done;
    wire [3:0] error;
    wire [31:0] cycles;
    wire [7:0] layer;
    wire [1:0] kind;

    reg [`STREAM_BITS-1:0] beats [0:`BEATS-1];
    integer sent = 0;
    wire s_ready;
    wire [`WORD_LANES*8-1:0] m_data;
    wire [`WORD_LANES-1:0] m_keep;
    wire m_last, m_valid;
    wire trace_valid, trace_part;
    wire [`TRACE_BANK_BITS-1:0] trace_bank;
    wire [`TRACE_ADDR_BITS-1:0] trace_addr;
    wire [`TRACE_LANES_BITS-1:0] trace_lanes;
    wire [`TRACE_DATA_BITS-1:0] trace_data;

    // Of the banks that are not written nothing is looked at: they may be unknown.
`ifdef WRITES_BANKS
    wire [`TRACE_DATA_BITS-1:0] written = trace_data & {
        {`WORD_BITS{trace_bank[2]}}, {`WORD_BITS{trace_bank[1]}}, {`WORD_BITS{trace_bank[0]}}};
`else
    wire [`TRACE_DATA_BITS-1:0] written = trace_data;
`endif

    kestrel_engine dut (
        .clk(clk), .rst(rst), .start(start), .busy(busy), .done(done), .error(error), .cycles(cycles),
        .layer(layer), .kind(kind),
        .s_axis_tdata(beats[sent]), .s_axis_tvalid(sent < `BEATS), .s_axis_tlast(sent == `BEATS - 1),
        .s_axis_tready(s_ready),
        .m_axis_tdata(m_data), .m_axis_tkeep(m_keep), .m_axis_tlast(m_last), .m_axis_tvalid(m_valid),
        .m_axis_tready(1'b1),
        .trace_valid(trace_valid), .trace_part(trace_part), .trace_bank(trace_bank),
        .trace_addr(trace_addr), .trace_lanes(trace_lanes), .trace_data(trace_data)
    );

    integer trace, out, stats;
    reg ended = 0;

    always #5 clk = ~clk;

    initial begin
        trace = $fopen("trace.txt");
        out = $fopen("output.txt");
        $readmemh("image.mem", beats);
`ifdef WAVES
        $dumpfile("waves.vcd");
        $dumpvars(0, engine_tb);
`endif
        repeat (4) @(negedge clk);
        rst = 0;
        @(negedge clk) start = 1;
        @(negedge clk) start = 0;
        repeat (`CYCLES_MAX) @(negedge clk);
        $display("stuck");
        $finish;
    end

    // At the falling edge everything has settled to what the next rising edge sees.
    always @(negedge clk) begin
        if (trace_valid === 1'b1)
            $fdisplay(trace, "%h %h %h %h %h %h", layer, trace_part, trace_bank, trace_addr, trace_lanes, written);
        if (m_valid === 1'b1)
            $fdisplay(out, "%h %h %h", m_data, m_keep, m_last);
        if (done === 1'b1 || (!rst && error !== 4'd0)) begin
            stats = $fopen("stats.txt");
            $fdisplay(stats, "outcome %0s", error === 4'd0 ? "done" : "error");
            $fdisplay(stats, "error %0d", error);
            $fdisplay(stats, "cycles %0d", cycles);
            $fdisplay(stats, "simulated %0d", cycles);
            $fdisplay(stats, "sent %0d", sent);
            $fdisplay(stats, "received 0");
            $fclose(stats);
            $finish;
        end
    end

    always @(posedge clk)
        if (!rst && s_ready && sent < `BEATS)
            sent <= sent + 1;
endmodule
