`timescale 1ns / 1ps

// Test bench of the chip: resets it, checks that it holds the network, lets it check its ROMs, and sends one
// picture several times, once without a pause and then with pauses in both streams. Every byte that comes out
// is compared with what the reference gives. It prints PASS or FAIL; after FAIL the simulator's exit code is
// not 0. Plain Verilog (IEEE 1364-2005), for any simulator.
//
// The picture's file has a byte a line: row by row, pixel by pixel, the channels in the network's order. The
// files of what is expected have the bytes in the order in which they come out.
module kestrel_tb #(
    // The picture, and what comes out.
    parameter HEIGHT = 1,
    parameter WIDTH = 1,
    parameter CHANNELS = 1,
    parameter FEATURE_BYTES = 1,
    parameter DESCRIPTOR_BYTES = 0, // 0: the chip has no descriptor unit
    // The chip.
    parameter STREAM_BYTES = 1,
    parameter WORD_LANES = 1,
    parameter [31:0] NETWORK_CRC = 0,
    // Files.
    parameter PICTURE_FILE = "picture.mem",
    parameter FEATURES_FILE = "features.mem",
    parameter DESCRIPTION_FILE = "description.mem",
    // ROM images.
    parameter DESCRIPTOR_FILE = "descriptor.mem",
    parameter TABLE_FILE = "table.mem",
    parameter WEIGHTS_FILE = "weights.mem",
    // The bench.
    parameter FRAMES = 2, // of each kind of output
    parameter PATIENCE = 1000000, // clock cycles until something must have happened
    parameter HALF_PERIOD = 5, // ns
    parameter FINISH = 1 // 0: only sets `finished`, for several benches in one simulation
);
    // Registers, and bits in them.
    localparam ID = 12'h000, CONFIG0 = 12'h008, CONFIG1 = 12'h00C, CRC = 12'h010, TABLE_SIZE = 12'h014;
    localparam IMAGE = 12'h018, CONTROL = 12'h020, STATUS = 12'h024, ERROR = 12'h028, IRQ_ENABLE = 12'h02C;
    localparam IRQ_STATUS = 12'h030, FRAME_COUNT = 12'h034, OUTPUT = 12'h038;
    localparam START = 32'h1, CHECK = 32'h8;
    localparam DONE = 32'h1, FAILED = 32'h2, CHECKED = 32'h4, ALL = 32'h7;
    localparam FEATURES = 32'd0, DESCRIPTION = 32'd1;

    localparam PIXELS = HEIGHT * WIDTH;
    localparam DESCRIPTION_SIZE = DESCRIPTOR_BYTES > 0 ? DESCRIPTOR_BYTES : 1;

    reg [7:0] picture [0:PIXELS*CHANNELS-1];
    reg [7:0] features [0:FEATURE_BYTES-1];
    reg [7:0] description [0:DESCRIPTION_SIZE-1];

    reg aclk = 0;
    reg aresetn = 0;
    reg [11:0] awaddr = 0;
    reg awvalid = 0;
    wire awready;
    reg [31:0] wdata = 0;
    reg wvalid = 0;
    wire wready;
    wire [1:0] bresp;
    wire bvalid;
    reg bready = 0;
    reg [11:0] araddr = 0;
    reg arvalid = 0;
    wire arready;
    wire [31:0] rdata;
    wire [1:0] rresp;
    wire rvalid;
    reg rready = 0;
    reg [8*STREAM_BYTES-1:0] image_data = 0;
    reg image_last = 0;
    reg image_valid = 0;
    wire image_ready;
    wire [8*WORD_LANES-1:0] data;
    wire [WORD_LANES-1:0] keep;
    wire last;
    wire valid;
    reg ready = 0;
    wire irq;

    kestrel_axi #(
        //ROM_PARAMETERS
    ) chip (
        .aclk(aclk), .aresetn(aresetn),
        .s_axi_awaddr(awaddr), .s_axi_awprot(3'd0), .s_axi_awvalid(awvalid), .s_axi_awready(awready),
        .s_axi_wdata(wdata), .s_axi_wstrb(4'hF), .s_axi_wvalid(wvalid), .s_axi_wready(wready),
        .s_axi_bresp(bresp), .s_axi_bvalid(bvalid), .s_axi_bready(bready),
        .s_axi_araddr(araddr), .s_axi_arprot(3'd0), .s_axi_arvalid(arvalid), .s_axi_arready(arready),
        .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rvalid(rvalid), .s_axi_rready(rready),
        .s_axis_tdata(image_data), .s_axis_tlast(image_last), .s_axis_tvalid(image_valid),
        .s_axis_tready(image_ready),
        .m_axis_tdata(data), .m_axis_tkeep(keep), .m_axis_tlast(last), .m_axis_tvalid(valid),
        .m_axis_tready(ready),
        .irq(irq)
    );

    always #(HALF_PERIOD) aclk = !aclk;

    // Ends the simulation, with an exit code that is not 0 unless all went well.
    reg finished = 0;
    integer failures = 0;
    integer compared = 0;
    integer packets = 0;

    task finish;
        begin
            if (failures == 0 && (packets == 0 || compared == 0)) begin
                failures = 1;
                $display("%m: nothing was compared");
            end
            $display("%s: %0d packets, %0d bytes compared, %0d faults", failures == 0 ? "PASS" : "FAIL",
                packets, compared, failures);
            finished = 1;
            if (failures != 0) begin
`ifdef __ICARUS__
                $finish_and_return(1);
`else
                $stop;
`endif
            end
            else if (FINISH != 0)
                $finish;
            forever @(posedge aclk);
        end
    endtask

    task expect_value(input [8*20-1:0] what, input [31:0] found, input [31:0] wanted);
        if (found !== wanted) begin
            failures = failures + 1;
            $display("%0s is %h, not %h", what, found, wanted);
        end
    endtask

    // When nothing has moved for so long, something waits for ever.
    integer waited = 0;

    always @(posedge aclk) begin
        if (!aresetn || (image_valid && image_ready) || (valid && ready) || (bvalid && bready))
            waited = 0;
        else
            waited = waited + 1;
        if (waited == PATIENCE) begin
            failures = failures + 1;
            $display("nothing has happened for %0d cycles", PATIENCE);
            finish;
        end
    end

    // ------------------------------------------------------------------------------------------------------
    // Registers
    // ------------------------------------------------------------------------------------------------------

    // Inputs of the bus change at falling edges, and what the chip answers is looked at when it does, at
    // rising ones.
    reg answered, taken, also_taken;
    reg [1:0] response;
    reg [31:0] value; // that was read

    task write(input [11:0] address, input [31:0] word);
        begin
            @(negedge aclk);
            awaddr = address;
            wdata = word;
            awvalid = 1;
            wvalid = 1;
            bready = 1;
            answered = 0;
            while (!answered) begin
                @(posedge aclk);
                taken = awready;
                also_taken = wready;
                answered = bvalid;
                response = bresp;
                @(negedge aclk);
                if (taken)
                    awvalid = 0;
                if (also_taken)
                    wvalid = 0;
            end
            bready = 0;
            expect_value("the write's answer", {30'd0, response}, 0);
        end
    endtask

    task read(input [11:0] address);
        begin
            @(negedge aclk);
            araddr = address;
            arvalid = 1;
            rready = 1;
            answered = 0;
            while (!answered) begin
                @(posedge aclk);
                taken = arready;
                answered = rvalid;
                response = rresp;
                value = rdata;
                @(negedge aclk);
                if (taken)
                    arvalid = 0;
            end
            rready = 0;
            expect_value("the read's answer", {30'd0, response}, 0);
        end
    endtask

    // ------------------------------------------------------------------------------------------------------
    // Streams
    // ------------------------------------------------------------------------------------------------------

    reg pauses = 0;
    reg [15:0] lfsr = 16'hACE1;

    always @(posedge aclk)
        lfsr <= {lfsr[14:0], lfsr[15] ^ lfsr[13] ^ lfsr[12] ^ lfsr[10]};

    // The picture: a new beat begins with every pixel, and within a pixel with every WORD_LANES channels.
    integer pixel = PIXELS;
    integer channel = 0;
    integer filled;
    reg [8*STREAM_BYTES-1:0] beat;

    always @(posedge aclk)
        if (!image_valid || image_ready) begin
            image_valid <= 0;
            image_last <= 0;
            if (pixel < PIXELS && !(pauses && lfsr[1:0] == 0)) begin
                beat = {STREAM_BYTES{8'hA5}};
                filled = 0;
                while (filled < STREAM_BYTES && channel < CHANNELS
                        && (filled == 0 || channel % WORD_LANES != 0)) begin
                    beat[8*filled +: 8] = picture[pixel*CHANNELS + channel];
                    filled = filled + 1;
                    channel = channel + 1;
                end
                if (channel == CHANNELS) begin
                    channel = 0;
                    pixel = pixel + 1;
                end
                image_valid <= 1;
                image_data <= beat;
                image_last <= pixel == PIXELS;
            end
        end

    // What comes out: the bytes that TKEEP names, in order.
    reg [31:0] select = FEATURES;
    integer received = 0;
    integer lane;
    reg [7:0] wanted;

    always @(posedge aclk) begin
        ready <= !(pauses && lfsr[4:3] == 0);
        if (valid && ready) begin
            for (lane = 0; lane < WORD_LANES; lane = lane + 1)
                if (keep[lane] !== 0) begin
                    wanted = select == FEATURES ? features[received] : description[received];
                    if (data[8*lane +: 8] !== wanted) begin
                        failures = failures + 1;
                        if (failures <= 10)
                            $display("byte %0d of packet %0d is %h, not %h", received, packets,
                                data[8*lane +: 8], wanted);
                    end
                    received = received + 1;
                    compared = compared + 1;
                end
            if (last) begin
                expect_value("a packet's length", received,
                    select == FEATURES ? FEATURE_BYTES : DESCRIPTOR_BYTES);
                received = 0;
                packets = packets + 1;
            end
        end
    end

    // ------------------------------------------------------------------------------------------------------
    // What happens
    // ------------------------------------------------------------------------------------------------------

    task wait_until_idle;
        begin
            read(STATUS);
            while (value[0])
                read(STATUS);
        end
    endtask

    // Waits for the interrupt, which must be `wanted`, and clears it.
    task interrupt(input [31:0] wanted);
        begin
            while (irq !== 1)
                @(posedge aclk);
            read(IRQ_STATUS);
            expect_value("irq_status", value, wanted);
            read(ERROR);
            expect_value("error", value, 0);
            if (value !== 0)
                finish;
            write(IRQ_STATUS, ALL);
        end
    endtask

    task frame(input integer number);
        begin
            write(CONTROL, START);
            pauses = number % 2 != 0;
            pixel = 0;
            interrupt(DONE);
            while (packets == number)
                @(posedge aclk);
        end
    endtask

    task check_file(input integer file);
        if (file != 0)
            $fclose(file);
        else begin
            failures = failures + 1;
            $display("a file of the bench is missing: %0s, %0s or %0s", PICTURE_FILE, FEATURES_FILE,
                DESCRIPTION_FILE);
            finish;
        end
    endtask

    integer number;

    initial begin
        check_file($fopen(PICTURE_FILE, "r"));
        check_file($fopen(FEATURES_FILE, "r"));
        $readmemh(PICTURE_FILE, picture);
        $readmemh(FEATURES_FILE, features);
        if (DESCRIPTOR_BYTES > 0) begin
            check_file($fopen(DESCRIPTION_FILE, "r"));
            $readmemh(DESCRIPTION_FILE, description);
        end
        repeat (4) @(negedge aclk);
        aresetn = 1;
        wait_until_idle;
        read(ID);
        expect_value("id", value, 32'h4B535431);
        read(CONFIG0);
        expect_value("config0.stream_bytes", {24'd0, value[31:24]}, STREAM_BYTES);
        read(CONFIG1);
        expect_value("config1.word_lanes", {24'd0, value[23:16]}, WORD_LANES);
        read(CRC);
        expect_value("network_crc", value, NETWORK_CRC);
        read(TABLE_SIZE);
        expect_value("table_size", value, WIDTH << 16 | HEIGHT);
        write(IMAGE, WIDTH << 16 | HEIGHT);
        write(IRQ_STATUS, ALL);
        write(IRQ_ENABLE, ALL);
        write(CONTROL, CHECK);
        interrupt(CHECKED);
        read(STATUS);
        expect_value("status.check_good", {31'd0, value[4]}, 1);
        for (number = 0; number < FRAMES; number = number + 1)
            frame(number);
        if (DESCRIPTOR_BYTES > 0) begin
            wait_until_idle;
            write(OUTPUT, DESCRIPTION);
            select = DESCRIPTION;
            for (number = FRAMES; number < 2 * FRAMES; number = number + 1)
                frame(number);
        end
        wait_until_idle;
        read(FRAME_COUNT);
        expect_value("frames", value, packets);
        finish;
    end
endmodule
