"""Register slice of a stream: no combinational path from one side to the other."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal


def register_slice(m: Module, name: str, payload: Any, valid: Any, out_ready: Any) -> tuple[Any, Any, Any]:
    """Two registers between a stream and its consumer: one item a cycle, one cycle late.

    ``name`` is a prefix for the registers in ``m``. Returns ``ready`` for the producer, and the payload and
    ``valid`` for the consumer. All three come from registers: in a cycle ``valid`` does not depend on
    ``out_ready``, nor ``ready`` on ``valid``.
    """
    full = Signal(name=f"{name}_full")  # ``held`` waits behind ``out``
    held = Signal.like(payload, name=f"{name}_held", reset_less=True)
    out = Signal.like(payload, name=f"{name}_out", reset_less=True)
    out_valid = Signal(name=f"{name}_valid")
    with m.If(~out_valid | out_ready):
        m.d.sync += [out.eq(Mux(full, held, payload)), out_valid.eq(full | valid), full.eq(0)]
    with m.Elif(valid & ~full):
        m.d.sync += [held.eq(payload), full.eq(1)]
    return ~full, out, out_valid
