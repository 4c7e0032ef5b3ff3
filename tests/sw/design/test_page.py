"""The page of a design: its numbers, its drawings, and that it stands alone."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from kestrel.api.designs import design, report_design
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.sw.design.architecture import TALL, WIDE, boxes, drawing
from kestrel.sw.design.design import Design, Retrieval, Sensitivity, read_sensitivities
from kestrel.sw.design.memory_chart import memory_charts
from kestrel.sw.design.page import figures, panel

NANO = NAMED["nano"]
NETWORK = "vgg11/8:pool3"


@pytest.fixture(scope="module")
def made() -> Design:
    return design(NETWORK, NANO, 32, device="ecp5-45", command="kestrel report design <net>")


class Elements(HTMLParser):
    """Every element's name and attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    other = design(NETWORK, NAMED["edge"], 32, top="chip")
    full = replace(made, sensitivities=(Sensitivity("conv1_1", 2, {1: 0.5, 2: 0.25}),),
                   retrieval=Retrieval("holidays", "groups", 30, 12, 64, 0.8125, {1: 0.75, 5: 0.9}))
    path = tmp_path_factory.mktemp("page") / "d.html"
    return report_design(path, full, other).read_text(encoding="utf-8")


def test_it_loads_nothing_from_elsewhere(page):
    for tag, attributes in Elements(page).found:
        assert tag not in ("script", "link", "img", "iframe"), tag
        assert not {"src", "href"} & attributes.keys()
    assert "http" not in page
    assert set(re.findall(r"url\((.*?)\)", page)) == {"#tip"}


def test_every_drawing_says_what_it_shows(page):
    drawings = [attributes for tag, attributes in Elements(page).found
                if tag == "svg" and attributes.get("aria-hidden") != "true"]
    assert len(drawings) == 8, "two arrangements and two parts of memory, of two designs"
    assert all(attributes["role"] == "img" for attributes in drawings)
    wide_and_tall = [a["aria-label"] for a in drawings if "arch" in a["class"]]
    assert len(set(wide_and_tall)) == 2, "one for each design"
    plots = [a["aria-label"] for a in drawings if "plot" in a["class"]]
    assert len(set(plots)) == 4
    assert all("kB" in text and "cycles" in text for text in plots)


def test_it_is_made_for_the_dark_and_for_phones(page):
    assert "prefers-color-scheme: dark" in page
    assert '<meta name="viewport" content="width=device-width' in page
    assert "max-width: 46rem" in page


def test_both_designs_and_their_difference_are_told(page, made):
    text = Elements(page).text
    assert "Two designs side by side" in text
    assert f"{made.estimate.speed.cycles:,}" in text
    assert made.label in text
    assert "vgg11/8:pool3 on edge, 32 x 32" in text
    assert "descriptor unit" in text
    assert re.search(r"cycles of a frame\s*[\d,]+[\d,]+-\d+\.\d%", text)


def test_what_is_known_besides_is_told(page):
    text = Elements(page).text
    assert "Retrieval: holidays" in text
    assert "0.8125" in text
    assert "12 of 30" in text
    assert "conv1_1 distorts the descriptor most at its 2 bits: 2.50e-01" in text
    assert "Not measured." in text
    assert "Not given." in text


def test_provenance_is_told_and_escaped(page, made):
    text = Elements(page).text
    assert "kestrel report design <net>" in text
    assert "&lt;net&gt;" in page
    assert "none: a name without weights" in text
    assert made.provenance.date in text
    assert made.provenance.version in text


def test_the_drawing_has_the_configurations_numbers(made):
    known = boxes(made.estimate)
    assert known.keys() == WIDE.keys() == TALL.keys()
    assert len(set(WIDE.values())) == len(WIDE), "no box on another"
    assert len(set(TALL.values())) == len(TALL)
    assert known["array"].lines == ("2 x 2 kernel units", "36 MAC a cycle")
    assert known["features"].lines == ("2 parts x 3 banks, 393 kB", "32,768 + 32,768 x 16 bits")
    assert known["rom"].lines == ("131,072 x 64 bits", "1,049 kB")
    svg = drawing(made.estimate)
    assert svg.count("<rect") == len(WIDE)
    (units,) = re.findall(r'class="units" d="([^"]*)"', svg)
    assert units.count("M") == 4


def test_options_show_in_the_drawing():
    config = NAMED["edge"].with_options(residual=True, row_groups=True, scalar_tables=True, mask_bits_max=2)
    known = boxes(design("resnet18", config, 64, mask_bits="2").estimate)
    assert known["requantise"].lines == ("48 lanes", "to 8 bits, three rows at once")
    assert known["loader"].lines == ("4 kernels a cycle", "masks to 2 bits, tables")
    assert known["pool"].lines[0] == "2x2, 3x3 of stride 2"
    assert known["writer"].lines[1] == "shortcuts"


def test_memory_over_time_stays_within_what_is_configured(made):
    for chart in memory_charts(made.estimate):
        assert 0 < chart.peak <= chart.used <= chart.configured
        assert chart.svg.count("<polygon") == len(chart.maps)
    names = [name for chart in memory_charts(made.estimate) for name, _ in chart.maps]
    assert names[0] == "input"
    assert len(names) == len(set(names)) == len(made.estimate.report.layers) + 1


def test_layers_bars_and_findings_follow_from_the_estimate(made):
    shown = panel(made)
    assert sum(row.lost_share for row in shown.layers) == pytest.approx(1)
    assert sum(row.cycles_share for row in shown.layers) < 1, "input and output take the rest"
    assert max(bar.share for bar in shown.area) == max(bar.share for bar in shown.energy) == 1
    slowest = max(made.estimate.report.layers, key=lambda layer: layer.cycles)
    assert shown.findings[0].startswith(f"{slowest.name} takes most cycles")


def test_what_does_not_change_has_no_change(made):
    assert {figure.change for figure in figures([made.estimate, made.estimate])} == {""}
    assert all(len(figure.values) == 1 for figure in figures([made.estimate]))


GOOD = '{"layers": [{"name": "conv1_1", "mask_bits": 2, "choices": [{"mask_bits": 2, "distortion": 0.5}]}]}'


def test_sensitivities_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(GOOD)
    assert read_sensitivities(path, ("conv1_1", "conv2_1")) == (Sensitivity("conv1_1", 2, {2: 0.5}),)


@pytest.mark.parametrize(("content", "message"), [
    ("no json", "no sensitivities of layers; allowed: what `kestrel allocate --json` prints"),
    ("[1]", "no sensitivities"), ('{"layers": 3}', "no sensitivities"),
    ('{"layers": [{}]}', "no sensitivities"),
    ('{"layers": []}', "no layer, which the network lacks"),
    (GOOD.replace("conv1_1", "conv9_9"), "layer conv9_9, which the network lacks"),
])
def test_bad_sensitivities_are_refused(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read_sensitivities(path, ("conv1_1",))
    with pytest.raises(InputError, match=r"b.json: cannot be read \(No such file"):
        read_sensitivities(tmp_path / "b.json", ("conv1_1",))
