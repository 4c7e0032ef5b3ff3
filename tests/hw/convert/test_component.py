"""What the converter makes of components: the text, and what it refuses."""

import re

import pytest
from amaranth.hdl import Cat, ClockDomain, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import Emission
from kestrel.hw.convert.component import convert

FIELDS = data.StructLayout({"valid": 1, "level": 3})


class Sample(wiring.Component):
    """Adds what is given.

    Members
    -------
    total : Out(8)   of all ``a`` since the reset
    """

    def __init__(self, step: int = 1) -> None:
        self.step = step
        super().__init__(
            {
                "total": Out(8), "table": In(4), "fields": In(FIELDS), "a": In(4), "b": In(signed(6)),
                "kind": In(2), "chosen": Out(4), "low": Out(signed(4)), "last": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        doubled = (self.a + self.table)[:4]
        with m.If(self.fields.valid):
            m.d.sync += self.total.eq(self.total + self.a + self.step)
        with m.Switch(self.kind):
            with m.Case(0):
                m.d.comb += self.chosen.eq(self.a)
            with m.Case(1, 2):
                m.d.comb += self.chosen.eq(self.fields.level)
        m.d.comb += self.low.eq(Mux(self.b < 0, self.b >> 2, Cat(self.a[0], doubled)))
        seen = Signal()
        m.d.sync += [seen.eq(self.kind[0]), self.last.eq((doubled == 5) & seen)]
        return m


@pytest.fixture(scope="module")
def text():
    return convert(Sample(), Emission())


def code(text):
    return "\n".join(line.split("//")[0].rstrip() for line in text.splitlines())


def test_a_comment_says_what_the_block_is(text):
    comment = "".join(line for line in text.splitlines(keepends=True) if line.startswith("//"))
    assert comment.startswith("// kestrel_sample\n//\n// Adds what is given.\n")
    assert "// total : Out(8)   of all a since the reset\n" in comment
    assert "// Made for step 1.\n" in comment
    assert "test_component.py" in comment


def test_ports_are_in_the_order_of_the_signature_after_clock_and_reset(text):
    names = re.findall(r"^  (?:input|output) .*?(\w+),?$", text, re.MULTILINE)
    assert names == ["clk", "rst", "total", "table_", "fields", "a", "b", "kind", "chosen", "low", "last"]


def test_a_register_with_a_reset(text):
    assert re.search(r"    if \(rst\) begin\n(      \w+ <= \S+'[hb]0;\n){3}    end else begin\n", text)
    assert "if (fields_valid) begin\n        total <= total + " in text
    assert text.count("always @(posedge clk)") == text.count("always") == 1


def test_parts_have_the_names_of_fields_and_choices_are_assigned(text):
    assert "wire fields_valid = fields[0];" in text
    assert re.search(r"assign chosen =\s+kind == 2'h0 \? a :", text)
    assert "fields_level" in text


def test_no_width_depends_on_a_context(text):
    """Sums have operands of their own width, and so have comparisons."""
    assert "a + table_" in code(text)
    assert "last <= (a_plus_table_ == 4'h5) & seen;" in code(text)
    assert "total + {4'h0, a} + 8'h1" in code(text)
    assert "$signed(b) < $signed(6'h0)" in code(text)


def test_the_text_is_the_same_every_time(text):
    assert convert(Sample(), Emission()) == text


def test_source_lines_are_those_of_the_signals():
    text = convert(Sample(), Emission(), sources=True)
    assert code(text) == code(convert(Sample(), Emission()))
    places = re.findall(r";  // (.*)", text)
    assert places
    assert all(re.fullmatch(r"[\w.]+\.py:\d+", place) for place in places), "paths differ between machines"


class Wrong(wiring.Component):
    """Something that has no place in a block."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__({"a": In(8), "y": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.what == "memory":
            m.submodules.words = words = memory.Memory(shape=8, depth=4, init=[])
            port = words.read_port(domain="comb")
            m.d.comb += [port.addr.eq(self.a), self.y.eq(port.data)]
        elif self.what == "division":
            m.d.comb += self.y.eq(self.a // 3)
        else:
            m.domains.other = ClockDomain(clk_edge="neg", local=True)
            register = Signal(8)
            m.d.other += register.eq(self.a)
            m.d.comb += self.y.eq(register)
        return m


@pytest.mark.parametrize(
    ("what", "message"),
    [("memory", "memory"), ("division", "divfloor"), ("falling edge", "a register without a rising edge")],
)
def test_what_no_block_may_have_is_refused(what, message):
    with pytest.raises(ValueError, match=message):
        convert(Wrong(what), Emission())
