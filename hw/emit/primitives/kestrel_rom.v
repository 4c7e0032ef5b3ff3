// Read-only memory, loaded by $readmemh. Behavioural body: replace it by a macro of the same timing. Read
// data appear in the cycle after `en` and stay until the next read.
// INIT_FILE is for synthesis; a simulator may name another image with +PLUSARG=<file>. With BLACKBOX defined
// there are ports only.
module kestrel_rom #(
    parameter WIDTH = 32,
    parameter DEPTH = 2,
    parameter ADDR_BITS = 1,
    parameter INIT_FILE = "",
    parameter PLUSARG = "kestrel_rom"
) (
    input  wire                 clk,
    input  wire                 en,
    input  wire [ADDR_BITS-1:0] addr,
    output reg  [WIDTH-1:0]     rdata
);
`ifndef BLACKBOX
    reg [WIDTH-1:0] mem [0:DEPTH-1];

`ifdef SYNTHESIS
    initial
        if (INIT_FILE != "")
            $readmemh(INIT_FILE, mem);
`else
    reg [8*1024-1:0] image;

    initial
        if ($value$plusargs({PLUSARG, "=%s"}, image))
            $readmemh(image, mem);
        else if (INIT_FILE != "")
            $readmemh(INIT_FILE, mem);
`endif

    always @(posedge clk)
        if (en)
            rdata <= mem[addr];
`endif
endmodule
