"""A real browser for the pages, and how readable a colour is."""

import re
import shutil

import pytest

CHROMIUM = "chromium"

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking"]


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, one for all tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install it")
    program = shutil.which(CHROMIUM)
    if program is None:
        pytest.skip("Chromium is missing (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield made
        made.close()


@pytest.fixture
def open_file(browser):
    """Opens a page that is a file, which may ask for nothing else."""
    contexts, asked = [], []

    def opened(path, width=1200, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.fixture
def contrasts():
    """WCAG's contrast of the text of each selector with what is behind it, in a page."""
    return contrasts_in


def contrasts_in(page, *selectors):
    found = {}
    for selector in selectors:
        ink, ground = page.evaluate("""(selector) => {
          let element = document.querySelector(selector); const ink = getComputedStyle(element).color;
          const ground = () => getComputedStyle(element).backgroundColor;
          while (ground() === "rgba(0, 0, 0, 0)") element = element.parentElement;
          return [ink, ground()]; }""", selector)
        light, dark = sorted([luminance(ink), luminance(ground)], reverse=True)
        found[selector] = (light + 0.05) / (dark + 0.05)
    return found


def luminance(colour):
    """WCAG's, of rgb(r, g, b)."""
    parts = [int(value) / 255 for value in re.findall(r"[0-9]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
