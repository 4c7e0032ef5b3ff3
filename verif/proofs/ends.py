"""Proofs that what begins also ends: what is left to do becomes less in every cycle in which nobody outside
has to be waited for.

Each names what is left as numbers in order of weight. In a cycle that counts, the first of them that changes
becomes smaller, so that it cannot go on for ever; how many cycles it may take follows from their ranges.
"""

from kestrel.hw.chip.rom_check import RomCheck, checked_roms
from kestrel.hw.control.sequencer import Sequencer
from kestrel.hw.core import Core
from kestrel.hw.memory.feature_output import FeatureOutput
from kestrel.hw.memory.image_input import ImageInput
from kestrel.hw.memory.raster import Raster
from kestrel.hw.memory.reader import Reader
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.table import HEADER_WORDS_USED, layer_words, visit_words_used
from kestrel.verif.proofs.proof import AllInputs, Induction, Proof

CONFIG = NAMED["edge"]

READER = Proof(
    name="reader-ends",
    says="A pass of the reader takes exactly rows x width cycles: a column in each, row after row; ending "
    "comes with the last one and nowhere else, and nothing outside can hold it up.",
    make=lambda: Reader(CONFIG),
    claims="""
        // Required: a row and a column at least, one pass at a time, and a layer that stays.
        always @* assume (layer_width != 0 && visit_rows != 0);
        always @* assume (!(go && active && !ending));
        always @* if (active) assume (layer_width == past_layer_width);
        reg [9:0] columns_done;
        reg [15:0] rows_done, rows_asked;
        wire ends_row = columns_done + 1 == layer_width;
        wire ends_pass = ends_row && rows_done + 1 == rows_asked;
        always @(posedge clk)
            if (go) begin
                columns_done <= 0; rows_done <= 0; rows_asked <= visit_rows;
            end else if (active) begin
                columns_done <= ends_row ? 0 : columns_done + 1;
                rows_done <= rows_done + ends_row;
            end
        always @* if (active) assert (columns_done < layer_width && column == columns_done);
        always @* if (active) assert (rows_done < rows_asked && rows_left == rows_asked - rows_done);
        always @* if (active) assert (row_end == ends_row);
        always @* if (active) assert (last_row == (rows_done + 1 == rows_asked));
        always @* assert (ending == (active && ends_pass));
        always @* if (!past_rst && past_active && !past_ends_pass) assert (active);
        always @* if (!past_rst && past_ending && !past_go) assert (!active);
    """,
    method=Induction(1),
    fault=(r"last_row <= rows_left == 16'h2", "last_row <= rows_left == 16'h1"),
)

RASTER = Proof(
    name="raster-ends",
    says="The words of a strip are exactly rows x width x words steps: each ends a pixel, a row and the "
    "strip where these end and nowhere else.",
    make=lambda: Raster(CONFIG),
    claims="""
        // Required: nothing of the strip is empty, its width and words stay, no step behind its end.
        always @* assume (strip_words != 0 && strip_width != 0 && strip_rows != 0);
        always @* if (walking) assume (strip_words == past_strip_words && strip_width == past_strip_width);
        reg walking;
        reg [15:0] words_done, rows_done, rows_asked;
        reg [9:0] columns_done;
        wire ends_word = words_done + 1 == strip_words;
        wire ends_row = ends_word && columns_done + 1 == strip_width;
        wire ends_all = ends_row && rows_done + 1 == rows_asked;
        always @(posedge clk)
            if (rst) walking <= 0;
            else if (go) begin
                walking <= 1; words_done <= 0; columns_done <= 0; rows_done <= 0; rows_asked <= strip_rows;
            end else if (step && walking) begin
                words_done <= ends_word ? 0 : words_done + 1;
                columns_done <= ends_row ? 0 : columns_done + ends_word;
                rows_done <= rows_done + ends_row;
                walking <= !ends_all;
            end
        always @* if (walking) assert (words_done < strip_words && words_left == strip_words - words_done);
        always @* if (walking) assert (columns_done < strip_width && column == columns_done);
        always @* if (walking) assert (rows_done < rows_asked && rows_left == rows_asked - rows_done);
        always @* if (walking) assert (in_last_column == (columns_done + 1 == strip_width));
        always @* if (walking) assert (in_last_row == (rows_done + 1 == rows_asked));
        always @* if (walking) assert (ends_pixel == ends_word);
        always @* if (walking) assert (ends_strip == ends_all);
        always @* if (walking) assert (ends_image == (ends_all && of_image));
    """,
    method=Induction(1),
    fault=(r"ends_pixel <= words_left == 16'h2", "ends_pixel <= words_left == 16'h3"),
)

OUTPUT = Proof(
    name="feature-output-ends",
    says="In each cycle in which no beat waits for READY the output reads a word, until the strip's last "
    "one; three such cycles later the visit is over. Until it is taken a beat stays, and none is lost.",
    make=lambda: FeatureOutput(CONFIG),
    claims="""
        // Required: one visit at a time.
        always @* assume (!(go && active && !ending));
        wire willing = !tvalid || tready;
        always @* assert (active == (reading || fetched || tvalid || ending));
        always @* assert (!(ending && (reading || fetched || tvalid)));
        // First what is to be read; the raster says which word is the last one.
        always @* assert (read_en == (reading && willing));
        always @* if (!past_rst && !past_go && past_reading)
            assert (reading == !(past_willing && past_ends_strip));
        // Then what is on its way.
        wire [2:0] left = {fetched, tvalid, active};
        always @* if (!past_rst && !past_go && past_active && !past_reading && past_willing)
            assert (!reading && left < past_left);
        always @* if (!past_rst && !past_go && past_active && !past_reading && !past_willing)
            assert (!reading && left == past_left);
        // Words read and beats taken.
        reg [15:0] words, beats;
        always @(posedge clk)
            if (rst) begin
                words <= 0; beats <= 0;
            end else begin
                words <= words + read_en;
                beats <= beats + (tvalid & tready);
            end
        wire [15:0] on_the_way = words - beats;
        always @* assert (on_the_way == fetched + tvalid);
        always @* if (!past_rst && past_tvalid && !past_tready) assert (tvalid);
        always @* if (!past_rst && past_tvalid && !past_tready)
            assert (tdata == past_tdata && tkeep == past_tkeep && tlast == past_tlast);
    """,
    method=Induction(1),
    fault=(r"(ending <= tvalid & tready & ~reading &) ~(fetched)", r"\1 \2"),
)

_BEATS = -(-CONFIG.word_lanes // CONFIG.stream_bytes)

INPUT = Proof(
    name="image-input-ends",
    says="The input takes every beat that is offered while a visit is under way; a word is full after as "
    "many beats as it has room for, and the visit is over two cycles after its last beat or TLAST, either "
    "well or with a cause. What is thrown away ends with its TLAST.",
    make=lambda: ImageInput(CONFIG),
    claims=f"""
        // Required: a channel at least and no more than lanes, one visit at a time.
        always @* assume (layer[62:58] != 0 && layer[62:58] <= {CONFIG.word_lanes});
        always @* assume (!(go && active && !closing));
        always @* assert (active == (taking || closing));
        always @* assert (!(taking && closing));
        always @* assert (tready == (taking || flushing));
        // A beat that is taken is a step of the raster, or one beat less to it.
        always @* assert (taken == (tvalid && tready && !flushing));
        always @* if (position == {_BEATS - 1}) assert (word_end);
        always @* if (!past_rst && !past_go && past_taken && !past_step)
            assert (position == past_position + 1);
        always @* if (!past_rst && !past_go && past_taken)
            assert (closing == (past_tlast || (past_step && past_ends_strip)));
        always @* if (!past_rst && !past_go && past_taking) assert (taking == !closing);
        // The visit's end, well or not.
        always @* assert (closing == (ending || error != 0));
        always @* assert (!(ending && error != 0));
        always @* if (!past_rst && past_closing && !past_go) assert (!active);
        // The rest of a frame that is too long.
        always @* if (!past_rst && past_flushing) assert (flushing == !(past_tvalid && past_tlast));
        always @* if (!past_rst && !past_flushing) assert (flushing == (error == 2));
        // As the raster's ends are: no frame ends but with its visit.
        always @* assume (!ends_image || ends_strip);
    """,
    method=Induction(1),
    fault=(r"if \(strip_end \| tlast\)", "if (strip_end)"),
    cut=("ends_strip", "ends_image"),
)

_CHIP = ChipConfig(CONFIG)
_TABLE, _WEIGHTS = checked_roms(_CHIP)

CHECK = Proof(
    name="self-check-ends",
    says="A self-check ends whatever the ROMs hold: in each cycle it is a state further, or takes a piece of "
    "a word, of at most as many words as the ROM has.",
    make=lambda: RomCheck(_CHIP),
    claims=f"""
        wire table_pieces = fsm_state == 5, weights_pieces = fsm_state == 10;
        wire [31:0] room = fsm_state <= 7 ? {_TABLE.depth} : {_WEIGHTS.depth};
        wire [2:0] last = table_pieces ? {_TABLE.pieces - 1} : {_WEIGHTS.pieces - 1};
        always @* assert (fsm_state <= 12);
        always @* if (fsm_state == 1) assert (address >= 8 && address <= 15);
        always @* if (fsm_state == 4 || fsm_state == 9) assert (count == 0);
        always @* if (table_pieces || weights_pieces)
            assert (address != 0 && address <= words && words <= room && count <= last);
        // What is left: states, words, pieces.
        reg [3:0] states;
        always @* case (fsm_state)
            0: states = 13; 1: states = 12; 3: states = 11; 4: states = 10; 5: states = 9; 7: states = 8;
            6: states = 7; 8: states = 6; 9: states = 5; 10: states = 4; 12: states = 3; 11: states = 2;
            default: states = 0;
        endcase
        wire [31:0] words_left = table_pieces || weights_pieces ? words - address :
            fsm_state == 1 ? 15 - address : 0;
        wire [2:0] pieces_left = table_pieces || weights_pieces ? last - count : 0;
        wire [38:0] left = {{states, words_left, pieces_left}};
        always @* if (!past_rst && past_busy) assert (left < past_left);
        always @* assert (busy == (states != 0));
        always @* if (!past_rst) assert (done == (past_fsm_state == 11));
        always @* if (!past_rst && past_fsm_state == 11) assert (!busy);
    """,
    method=Induction(1),
    fault=(r"if \(address_is_words\) begin\n(\s+)fsm_state <= 4'h7", r"if (0) begin\n\1fsm_state <= 4'h7"),
)

SEQUENCER = Proof(
    name="sequencer-goes-on",
    says="From the start of a frame on the sequencer is a step further in every cycle, but where it waits "
    "for weights, for the block at work or for the pipeline to drain; a visit has as many passes as its "
    "layer has tiles and digits. It hands over to one block at a time, and changes the layer only when "
    "nothing is under way.",
    make=lambda: Sequencer(CONFIG),
    claims=f"""
        // States: 1 header, 2 check, 3 visit, 4 dispatch, 6 layer, 8 prepare, 7 ready, 9 hand over, 5 finish.
        wire conv = visit_kind == 2;
        wire tiles = conv && (fsm_state == 7 || fsm_state == 9);
        // Required: a layer has groups and passes.
        wire [15:0] ins = load_layer_in_groups, outs = load_layer_out_groups;
        wire [1:0] passes = load_layer_passes;
        always @* if (fsm_state >= 7 || fsm_state == 4) assume (ins != 0 && outs != 0 && passes != 0);
        // What it may wait for.
        wire waits_for_weights = conv && !loaded;
        wire at_work = active && !ending;
        wire under_way = active || drain_left != 0;
        wire waits = (fsm_state == 7 && (waits_for_weights || (condition_3 ? under_way : at_work)))
            || (fsm_state == 5 && at_work);
        // What is left until the next hand-over or the frame's end.
        reg [3:0] states;
        always @* case (fsm_state)
            1: states = 9; 2: states = 8; 3: states = 7; 4: states = 6; 6: states = 5; 8: states = 4;
            7: states = 3; 9: states = 2; 5: states = 1; default: states = 0;
        endcase
        wire receives = fsm_state == 1 || fsm_state == 3 || fsm_state == 6;
        wire [4:0] most = fsm_state == 1 ? {HEADER_WORDS_USED} : fsm_state == 3 ? {visit_words_used(CONFIG)}
            : {layer_words(CONFIG)};
        wire [8:0] left = {{states, receives ? most - word : 5'd0}};
        always @* assert (fsm_state <= 9);
        always @* assert (busy == (states != 0));
        always @* if (receives) assert (word <= most);
        always @* if (fsm_state == 4) assert (word == 0);
        always @* if (fsm_state == 2 || fsm_state == 8 || fsm_state == 5) assert (!go);
        always @* if (!past_rst && past_busy && !past_waits && !past_go) assert (left < past_left);
        always @* if (!past_rst && past_waits && past_input_error == 0) assert (left == past_left);
        always @* if (!past_rst && past_waits && past_input_error != 0) assert (!busy);
        // The passes of a visit.
        wire [33:0] passes_left = {{outs - out_group, ins - in_group, passes - digit}};
        always @* if (tiles) assert (digit < passes && last_digit == (digit + 1 == passes));
        always @* if (tiles) assert (in_group < ins && last_in == (in_group + 1 == ins));
        always @* if (tiles) assert (out_group < outs && last_out == (out_group + 1 == outs));
        always @* if (!past_rst && past_go && past_input_error == 0) assert (fsm_state == 3 || tiles);
        always @* if (!past_rst && past_go && tiles) assert (passes_left < past_passes_left);
        always @* if (tile_next) assert (go && tiles);
        // Who is at work.
        always @* if (go) assert (!at_work);
        always @* if (!past_rst && past_adopt) assert (fsm_state == 9 || past_input_error != 0);
        always @* if (!past_rst && layer != past_layer) assert (past_adopt && !past_under_way);
        always @* if (!past_rst && !past_active && past_drain_left != 0)
            assert (drain_left == past_drain_left - 1);
    """,
    method=Induction(1),
    fault=(r"if \(active\) begin\n(\s+)drain_left <=", r"if (!go) begin\n\1drain_left <="),
)

PARTS = Proof(
    name="parts-apart",
    says="A result is never written into the part of the feature memory that is read: in no state of the "
    "core; and the image only into part 0.",
    make=lambda: Core(NAMED["nano"]),
    claims="""
        always @* if (write_en && !image_input_write[0]) assert (write_part == !read_part);
        always @* if (image_input_write[0]) assert (write_part == 0);
    """,
    method=AllInputs(0),
    fault=(r"wire read_part = sequencer_layer\[83\];", "wire read_part = next_layer[83];"),
)

PROOFS = (READER, RASTER, OUTPUT, INPUT, CHECK, SEQUENCER, PARTS)
