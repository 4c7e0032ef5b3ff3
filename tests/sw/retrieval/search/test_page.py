import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.search.page import THUMBNAIL_SIDE, thumbnail, write_page
from kestrel.sw.retrieval.search.query import IGNORED, RIGHT, WRONG, Match, Result


class Page(HTMLParser):
    """Figures as (class, name of the picture, data URI or None, text), and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.open, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [v for k, v in attrs if k in {"src", "href"}]
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        if tag == "figure":
            self.figures.append([attributes["class"], None, None, ""])
        if tag == "img":
            self.figures[-1][1:3] = [attributes["alt"], attributes["src"]]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "figure" in self.open:
            self.figures[-1][3] += data


@pytest.fixture
def photos(tmp_path):
    for n in range(3):
        Image.fromarray(generate_picture(300, 200, n)).save(tmp_path / f"{n}.png")
    return tmp_path


def test_the_page_shows_each_query_with_its_marked_matches(photos, tmp_path):
    results = [
        Result("0.png", (Match("0.png", 1.0, IGNORED), Match("1.png", 0.75, RIGHT),
                         Match("2.png", 0.5, WRONG)), 2),
        Result("elsewhere", (Match("gone.png", 7.0, None),), None),
    ]
    out = tmp_path / "page.html"
    write_page(out, results, {"index": "some <index>"}, "inner product", photos,
               {"elsewhere": photos / "2.png"})
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert [(f[0], f[1]) for f in page.figures] == [
        ("query", "0.png"), ("ignored", "0.png"), ("right", "1.png"), ("wrong", "2.png"),
        ("query", "elsewhere"), ("unjudged", None)]
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert page.figures[4][2] == page.figures[3][2] == thumbnail(photos / "2.png")
    assert "✓" in page.figures[2][3]
    assert "✗" in page.figures[3][3]
    assert "0.75" in page.figures[2][3]
    assert "no picture" in page.figures[5][3]
    assert "1 of 2 right ones among the first 3" in text
    assert "some &lt;index&gt;" in text


def test_names_are_text_and_never_markup(tmp_path):
    evil = '"><script>alert(1)</script>'
    results = [Result(evil, (Match(evil, 1.0, None),), None)]
    write_page(tmp_path / "p.html", results, {evil: evil}, evil, tmp_path, {})
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert Page(text).open == []


def test_a_thumbnail_keeps_the_proportions(photos):
    content = base64.b64decode(thumbnail(photos / "0.png").partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (round(THUMBNAIL_SIDE * 200 / 300), THUMBNAIL_SIDE)
        small = np.asarray(image.convert("RGB"), dtype=float)
    wanted = np.asarray(Image.fromarray(generate_picture(300, 200, 0)).resize(image.size), dtype=float)
    assert abs(small - wanted).mean() < 10


def test_a_page_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'no'} does not exist")):
        write_page(tmp_path / "no" / "p.html", [], {}, "x", tmp_path, {})
