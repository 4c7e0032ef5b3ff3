"""What the engine reports: its error causes and its counters."""

# --------------------------------------------------------------------------------------------------------
# Error causes, as read on the engine's ``error`` port (0: none)
# --------------------------------------------------------------------------------------------------------

ERROR_BITS = 4
ERRORS: dict[int, str] = {
    0: "none",
    1: "frame too short: TLAST before the last pixel",
    2: "frame too long: no TLAST with the last pixel",
    3: "schedule table: wrong magic number or version",
    4: "schedule table: made for another engine configuration",
}
ERROR_FRAME_SHORT = 1
ERROR_FRAME_LONG = 2
ERROR_TABLE_MAGIC = 3
ERROR_TABLE_CONFIG = 4

# --------------------------------------------------------------------------------------------------------
# Counters, as read through the engine's ``counter_*`` ports
# --------------------------------------------------------------------------------------------------------

COUNTER_BITS = 32
COUNTER_ADDRESS_BITS = 9
COUNTER_BASE = 256
"""Address of the first of COUNTERS; the addresses below are those of the schedule table's records."""

COUNTERS = ("busy", "array", "input", "input_stall", "output", "output_stall", "weight_stall", "control")
"""busy: all cycles of the frame, the sum of the others. array: a pass streams. input, output: a beat moves,
the output's pipeline fills, or the visit ends. input_stall: no beat is offered; output_stall: the beat is
not taken. weight_stall: a pass waits for its weights. control: start, table records, drained pipeline."""

TRACE_ADDRESS_BITS = 32
"""Width of each bank's address on the trace ports of an engine with row groups, which have three of them;
it is the same for every size of the memories."""
