"""Shares, missed lines and their places in Python, and waivers: on a small module written out here."""

import json

import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.verif.coverage.counts import Counts, Point
from kestrel.verif.coverage.crosses import cross
from kestrel.verif.coverage.module import read_module
from kestrel.verif.coverage.report import Run, write_report
from kestrel.verif.coverage.summary import Figure, find_missed, summarise
from kestrel.verif.coverage.waivers import Waiver, apply_waivers, read_waivers, unused_waivers

TEXT = """\
// kestrel_peak
//
// Generated from hw/compute/peak.py; changes belong there.

module kestrel_peak (
  input  wire clk,
  input  wire [3:0] y,
  output reg  valid
);

  reg [3:0] best;  // hw/compute/peak.py:21
  wire larger = y > best;  // hw/compute/peak.py:33

  always @(posedge clk) begin
    if (larger) begin
      best <= y;
    end
    valid <= larger;
  end

endmodule
"""
RUN = Run(("nano",), (1, 2), "/stack", 7, 0, 900, "abc", "def+", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def verilog(tmp_path):
    path = tmp_path / "a" / "kestrel_peak.v"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


def counts_of(path, shift=0, taken=0, high=0):
    """Of a run that saw two of four bits change, and never or ``taken`` times a larger value."""
    file = str(path)
    found = Counts({
        Point(file, 14 + shift, 3, "line", "block", (14 + shift, 18 + shift)): 9,
        Point(file, 15 + shift, 5, "branch", "if", (15 + shift, 16 + shift)): taken,
        Point(file, 15 + shift, 6, "branch", "else"): 9,
        Point(file, 12 + shift, 17, "expr", "(y > best) => 1"): taken,
    })
    for bit in range(4):
        for edge in ("0->1", "1->0"):
            found[Point(file, 11 + shift, 13, "toggle", f"best[{bit}]:{edge}")] = high if bit > 1 else 3
    return found


def test_the_places_of_lines_and_signals(verilog):
    module = read_module(verilog)
    assert (module.name, module.source, module.first) == ("peak", "hw/compute/peak.py", 5)
    assert module.place_of_signal("best") == "hw/compute/peak.py:21"
    assert module.place_of_signal("valid") == "hw/compute/peak.py", "a port has no line"
    assert module.place(12) == "hw/compute/peak.py:33"
    assert module.place(15) == "hw/compute/peak.py:21", "what the branch assigns"
    assert module.place(18) == module.place(7) == module.place(999) == "hw/compute/peak.py"


def test_shares_and_what_was_missed(verilog):
    summary = summarise(*find_missed(counts_of(verilog)))
    (module,) = summary.modules
    assert module.figures == {
        "line": Figure(4, 2, 0), "branch": Figure(2, 1, 0), "expression": Figure(1, 0, 0),
        "toggle": Figure(8, 4, 0),
    }
    assert summary.totals == module.figures
    assert [(m.measure, m.line, m.what, m.place.rpartition(":")[2], m.points) for m in summary.missed] == [
        ("line", 15, "", "21", 1), ("line", 16, "", "21", 1), ("branch", 15, "if", "21", 1),
        ("expression", 12, "(y > best) => 1", "33", 1), ("toggle", 11, "best[3:2]", "21", 4),
    ]
    assert summary.missed[1].text == "best <= y;"


def test_a_module_is_one_whatever_its_first_comment_says_and_two_if_its_text_differs(verilog, tmp_path):
    """The comment names an engine's sizes; only what follows tells whether they matter here."""
    other = tmp_path / "b" / "kestrel_peak.v"
    other.parent.mkdir()
    other.write_text(f"// Made for more.\n{TEXT}")
    counts = counts_of(verilog)
    counts.update(counts_of(other, shift=1, taken=2))
    summary = summarise(*find_missed(counts))
    assert summary.modules[0].variants == 1
    assert summary.totals["branch"] == Figure(2, 2, 0)
    other.write_text(f"// Made for more.\n{TEXT.replace('y > best', 'y >= best')}")
    summary = summarise(*find_missed(counts))
    assert summary.modules[0].variants == 2
    assert summary.totals["branch"] == Figure(4, 3, 0)
    assert [m.points for m in summary.missed if m.measure == "toggle"] == [8]


def test_one_edge_of_a_bit_is_named(verilog):
    counts = counts_of(verilog, taken=1, high=1)
    file = str(verilog)
    counts[Point(file, 11, 13, "toggle", "best[3]:0->1")] = 0
    counts[Point(file, 11, 13, "toggle", "best[1]:0->1")] = 0
    counts[Point(file, 8, 3, "toggle", "valid:1->0")] = 0
    assert [m.what for m in summarise(*find_missed(counts)).missed] == ["valid 1->0", "best[3,1] 0->1"]


WAIVERS = """
[[waiver]]
module = "peak"
signal = "be*"
reason = "the pixels are small"

[[waiver]]
module = "peak"
line = "best <= *"
reason = "so is this"
"""


def test_what_is_waived_counts_neither_way(verilog, tmp_path):
    (tmp_path / "w.toml").write_text(WAIVERS)
    waivers = read_waivers(tmp_path / "w.toml")
    items, missed, modules = find_missed(counts_of(verilog))
    assert unused_waivers(missed, waivers) == ()
    summary = summarise(items, apply_waivers(missed, waivers), modules)
    assert summary.totals["toggle"] == Figure(8, 4, 4)
    assert summary.totals["toggle"].share == 1
    assert summary.totals["line"] == Figure(4, 2, 1)
    assert [m.reason for m in summary.missed if m.reason] == ["so is this", "the pixels are small"]


def test_a_waiver_that_waives_nothing_is_found(verilog):
    _, missed, _ = find_missed(counts_of(verilog, taken=1, high=1))
    for waiver in (Waiver("peak", "r", signal="best"), Waiver("peak", "r", line="best <= y;")):
        assert unused_waivers(missed, [waiver]) == (waiver,)
    _, missed, _ = find_missed(counts_of(verilog))
    for waiver in (Waiver("pool", "r", signal="best"), Waiver("peak", "r", line="best"),
                   Waiver("peak", "r", signal="bes")):  # fmt: skip
        assert unused_waivers(missed, [waiver]) == (waiver,)


@pytest.mark.parametrize(("text", "message"), [
    ("", "nothing; allowed: tables [[waiver]]"),
    ("[waiver]\nmodule = 'a'\n", "waiver; allowed: tables [[waiver]]"),
    ("this is no TOML", "cannot be read"),
    (WAIVERS.replace("signal", "signals"), "number 1: 'signals' is not known; allowed: module, reason"),
    (WAIVERS.replace('reason = "so is this"', ""), "number 2: no reason"),
    (WAIVERS.replace('"so is this"', '" "'), "number 2: no reason"),
    (WAIVERS.replace('"so is this"', "3"), "number 2: "),
    (WAIVERS.replace('line = "best <= *"', ""), "number 2: module, reason; allowed: one of signal and line"),
    (WAIVERS.replace('signal = "be*"', 'signal = "b"\nline = "b"'), "number 1: line, module, reason, "),
])  # fmt: skip
def test_a_file_of_waivers_of_another_form_is_refused(tmp_path, text, message):
    path = tmp_path / "w.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"w\.toml") as refusal:
        read_waivers(path)
    assert message in str(refusal.value)


def test_the_files_say_the_same_and_load_nothing(verilog, tmp_path):
    items, missed, modules = find_missed(counts_of(verilog))
    summary = summarise(items, apply_waivers(missed, [Waiver("peak", "why <not>", signal="best")]), modules)
    files = write_report(RUN, summary, cross([], [NAMED["nano"]]), tmp_path)
    found = json.loads(files[0].read_text())
    assert found["totals"]["line"] == {"points": 4, "covered": 2, "waived": 0, "share": 0.5}
    assert found["modules"][0]["source"] == "hw/compute/peak.py"
    assert found["missed"][0]["place"] == "hw/compute/peak.py:21"
    page = files[1].read_text()
    assert "50.0%" in page
    assert "why &lt;not&gt;" in page
    assert "hw/compute/peak.py:33" in page
    assert "http" not in page
