import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.images import generate_picture, open_image
from kestrel.sw.retrieval.search import page as module
from kestrel.sw.retrieval.search.page import LARGE_SIDE, THUMBNAIL_SIDE, data_uri, write_page
from kestrel.sw.retrieval.search.query import IGNORED, RIGHT, WRONG, Match, Result


class Page(HTMLParser):
    """Figures as [class, name of the picture, data URI or None, text]; large pictures by their identifiers,
    and those that the figures open; and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.open, self.links, self.large, self.opens = [], [], [], {}, {}
        self.inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [v for k, v in attrs if k in {"src", "href"}]
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        if tag == "figure":
            self.figures.append([attributes["class"], None, None, ""])
        if "popover" in attributes:
            self.inside = attributes["id"]
        if tag == "button" and self.inside is None:
            self.opens[len(self.figures) - 1] = attributes["popovertarget"]
        if tag == "img" and self.inside is not None:
            self.large[self.inside] = (attributes["alt"], attributes["src"])
        elif tag == "img":
            self.figures[-1][1:3] = [attributes["alt"], attributes["src"]]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "figure" in self.open:
            self.figures[-1][3] += data


def picture(seed):
    """200 x 400 pixels."""
    return Image.fromarray(generate_picture(80, 40, seed)).resize((200, 400))


@pytest.fixture
def photos(tmp_path):
    for n in range(3):
        picture(n).save(tmp_path / f"{n}.png")
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
    assert page.figures[4][2] == page.figures[3][2] == data_uri(open_image(photos / "2.png"), THUMBNAIL_SIDE)
    # Each picture once, and every figure opens its own.
    assert [page.large[page.opens[n]][0] for n in range(5)] == ["0.png", "0.png", "1.png", "2.png", "2.png"]
    assert len(page.large) == 3
    assert 5 not in page.opens
    assert page.large[page.opens[3]][1] == data_uri(open_image(photos / "2.png"), LARGE_SIDE)
    assert "✓" in page.figures[2][3]
    assert "✗" in page.figures[3][3]
    assert "0.7500" in page.figures[2][3]
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
    content = base64.b64decode(data_uri(open_image(photos / "0.png"), THUMBNAIL_SIDE).partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (round(THUMBNAIL_SIDE * 200 / 400), THUMBNAIL_SIDE)
        small = np.asarray(image.convert("RGB"), dtype=float)
    wanted = np.asarray(picture(0).resize(image.size), dtype=float)
    assert abs(small - wanted).mean() < 10


def test_a_page_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'no'} does not exist")):
        write_page(tmp_path / "no" / "p.html", [], {}, "x", tmp_path, {})


def written(photos, tmp_path):
    """A page with a tall picture, and long names."""
    results = [Result(f"{n}.png", tuple(Match(f"{m}.png", 1.0 - 0.1 * m, None) for m in range(3)), None)
               for n in range(2)]
    out = tmp_path / "page.html"
    about = {"index": "an-index-with-a-name-that-does-not-end" * 3}
    write_page(out, results, about, "inner product", photos, {})
    return out


def test_counts_are_whole_and_shares_have_as_many_digits(photos, tmp_path):
    out = tmp_path / "page.html"
    for scores, wanted in (((0.0, 7.0, 120.0), ["0", "7", "120"]),
                           ((1.0, 0.5, 0.25), ["1.0000", "0.5000", "0.2500"])):
        matches = tuple(Match(f"{n}.png", score, None) for n, score in enumerate(scores))
        write_page(out, [Result("q", matches, None)], {}, "score", photos, {})
        texts = [figure[3] for figure in Page(out.read_text()).figures[1:]]
        assert [text.rpartition(".png")[2].strip() for text in texts] == wanted


def test_of_very_many_pictures_the_first_can_be_opened_large(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGE_MAX", 2)
    page = Page(written(photos, tmp_path).read_text())
    assert [name for name, _ in page.large.values()] == ["0.png", "1.png"]
    assert [n in page.opens for n in range(4)] == [True, True, True, False]
    assert all(figure[2] is not None for figure in page.figures)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_opens_large_by_the_keyboard_and_closes(photos, tmp_path, open_file, scheme, contrasts):
    page = open_file(written(photos, tmp_path), scheme=scheme)
    assert min(contrasts(page, "h1", "dt", "dd", "h2", "figcaption").values()) >= 4.5
    assert page.locator(".large:visible").count() == 0
    for key in ("Tab", "Tab", "Tab", "Enter"):
        page.keyboard.press(key)
    assert page.locator(".large:visible img").get_attribute("alt") == "1.png"
    assert page.locator(".large:visible img").bounding_box()["height"] > 1.5 * 168
    page.keyboard.press("Escape")
    assert page.locator(".large:visible").count() == 0
    page.locator("button.frame").first.click()
    page.get_by_text("Close").locator("visible=true").click()
    assert page.locator(".large:visible").count() == 0


@pytest.mark.parametrize("width", [320, 390])
def test_two_beside_each_other_fill_a_phone(photos, tmp_path, open_file, width):
    page = open_file(written(photos, tmp_path), width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    first, second = (page.locator(".frame").nth(n).bounding_box() for n in (0, 1))
    assert first["y"] == second["y"]
    assert first["x"] <= 16
    assert width - (second["x"] + second["width"]) <= 16
    page.locator("button.frame").first.click()
    box = page.locator(".large:visible").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
