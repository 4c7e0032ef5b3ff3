"""A library of standard cells that is as small as can be, for tests of synthesis and timing."""

from kestrel.verif.physical.timing import THRESHOLDS

_TABLE = """
    {kind} ({template}) {{ index_1 ("0.001, 0.1, 0.2"); index_2 ("1, 10, 50");
        values ("0.01, 0.02, 0.03", "0.01, {middle}, 0.03", "0.01, 0.02, 0.03"); }}
"""


def _arc(pin: str, sense: str, middle: float) -> str:
    tables = "".join(
        _TABLE.format(kind=kind, template="t", middle=middle)
        for kind in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
    )
    return f'timing () {{ related_pin : "{pin}"; timing_sense : {sense}; {tables} }}'


def _gate(name: str, area: int, function: str, pins: str) -> str:
    inputs = "".join(f"pin ({pin}) {{ direction : input; capacitance : 1; }}" for pin in pins)
    sense = "negative_unate" if function.startswith("!") else "positive_unate"
    arcs = "".join(_arc(pin, sense, 0.02) for pin in pins)
    output = f'pin (Z) {{ direction : output; max_capacitance : 60; function : "{function}"; {arcs} }}'
    return f"cell ({name}) {{ area : {area}; {inputs} {output} }}"


def tiny_library() -> str:
    """Liberty text of the library ``tiny``: a buffer, an inverter, a NAND and a register; times in ns,
    capacitances in fF."""
    setup = "".join(
        _TABLE.format(kind=kind, template="c", middle=middle)
        for kind, middle in (("rise_constraint", 0.03), ("fall_constraint", 0.04))
    )
    output = _arc("C", "non_unate", 0.1).replace("timing_sense", "timing_type : rising_edge; timing_sense")
    return f"""
library (tiny) {{
  delay_model : "table_lookup"; time_unit : "1ns"; capacitive_load_unit (1, ff); {THRESHOLDS}
  lu_table_template (t) {{ variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("1, 2, 3"); index_2 ("1, 2, 3"); }}
  lu_table_template (c) {{ variable_1 : related_pin_transition; variable_2 : constrained_pin_transition;
    index_1 ("1, 2, 3"); index_2 ("1, 2, 3"); }}
  {_gate("BUF_X1", 2, "A", "A")} {_gate("INV", 1, "!A", "A")} {_gate("NAND", 3, "!(A & B)", "AB")}
  cell (DFF) {{ area : 10; ff (IQ, IQN) {{ next_state : "D"; clocked_on : "C"; }}
    pin (C) {{ direction : input; clock : true; capacitance : 1; }}
    pin (D) {{ direction : input; capacitance : 1;
      timing () {{ related_pin : "C"; timing_type : setup_rising; {setup} }} }}
    pin (Q) {{ direction : output; max_capacitance : 60; function : "IQ"; {output} }} }}
}}
"""
