"""The page in a real browser, Debian's Chromium: dropping, results, widths, dark mode, the keyboard."""

import asyncio
import base64
import threading
import time

import pytest
import uvicorn

from kestrel.sw.serve.run import listen

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def address(place):
    """Of a server in a thread of its own."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(place.app(), log_level="warning", lifespan="off", ws="none"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the page. At the end nothing may have gone wrong in it, and nothing been asked of other sites."""
    contexts, faults, asked = [], [], []

    def said(message):
        if "Content Security" in message.text:
            faults.append(message.text)

    def opened(width=1200, height=900, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", said)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
    assert [url for url in asked if not url.startswith((address, "data:"))] == []


DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
  const transfer = new DataTransfer();
  if (name) transfer.items.add(new File([bytes], name)); else transfer.setData("text/plain", "words");
  for (const kind of ["dragover", "drop"])
    document.getElementById("drop").dispatchEvent(
      new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def drop(page, name, content):
    page.evaluate(DROP, [name, base64.b64encode(content).decode("ascii")])


def results(page):
    """Once they are there: the names of the matches, best first."""
    page.wait_for_selector("body:not(.working) #matches button")
    return page.locator("#matches .name").all_text_contents()


def says(page, selector, text, timeout=30_000):
    """Waits until an element has this text in it."""
    page.locator(selector, has_text=text).wait_for(timeout=timeout)


def shown(page):
    """The frames of query and match: whether the picture has loaded, and where its boxes lie in it."""
    page.evaluate("Promise.all([...document.querySelectorAll('.pair img')].map((image) => image.decode()))")
    return page.evaluate("""() => ["query", "match"].map((id) => {
      const frame = document.getElementById(id), image = frame.querySelector("img").getBoundingClientRect();
      return [...frame.querySelectorAll(".box")].map((box) => {
        const b = box.getBoundingClientRect(); return {
        left: (b.left - image.left) / image.width, top: (b.top - image.top) / image.height,
        width: b.width / image.width, height: b.height / image.height }; });
    })""")


def test_a_dropped_photograph_and_what_comes_of_it(open_page, photo, ask, client):
    _, wanted = ask(client, photo, regions=100)
    page = open_page()
    assert page.locator("#found").is_hidden()
    drop(page, "mine.png", photo)
    assert results(page) == [match["name"] for match in wanted["matches"]]
    assert page.locator("#matches .score").all_inner_texts() == [
        f"{match['rank']}\n{match['score']:.4f}" for match in wanted["matches"]]
    assert "5 matches for mine.png in " in page.locator("#status").inner_text()
    # The boxes lie where the server says, on both pictures, for every match.
    for number in range(3):
        page.locator("#matches button").nth(number).click()
        regions = wanted["matches"][number]["regions"]
        assert regions
        for boxes, which in zip(shown(page), ("query", "match"), strict=True):
            assert len(boxes) == len(regions)
            for box, pair in zip(boxes, regions, strict=True):
                assert box == pytest.approx(pair[which], abs=0.01)
        assert page.locator("#agreements li").all_inner_texts() == [
            f"{n} agreement {pair['agreement']:.2f}" for n, pair in enumerate(regions, 1)]


def test_switches_search_again(open_page, photo, ask, client):
    page = open_page()
    drop(page, "mine.png", photo)
    results(page)
    page.get_by_label("bits", exact=True).check()
    says(page, "#match-caption", "Hamming")
    _, wanted = ask(client, photo, codes="bits", engine="rtl")
    assert results(page) == [match["name"] for match in wanted["matches"]]
    page.get_by_label("simulated chip").check()
    says(page, "#status", f"The chip took {wanted['cycles']:,} cycles in 1 frame.",
                                                    timeout=60_000)


def test_bad_files_are_refused_in_words_and_good_ones_still_found(open_page, photo):
    page = open_page()
    drop(page, "mine.png", photo)
    before = results(page)
    for name, content, message in (("notes.txt", b"words", "notes.txt: not a readable image"),
                                   ("long.png", bytes(300_000), "long.png: upload too large; allowed:"),
                                   ("", b"", "That was no file")):
        drop(page, name, content)
        says(page, "#problem", message)
    drop(page, "again.png", photo)
    says(page, "#status", "again.png")
    assert page.locator("#problem").is_hidden()
    assert results(page) == before


def test_by_the_keyboard_alone(open_page, photo, tmp_path):
    (tmp_path / "mine.png").write_bytes(photo)
    page = open_page()
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "mine.png"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.keyboard.press("Enter")
    results(page)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator("input[name=codes]:checked").get_attribute("value") == "bytes"
    names = results(page)
    page.keyboard.press("Tab")  # engine
    page.keyboard.press("Tab")  # the comparison's picture
    assert page.evaluate("document.activeElement.id") == "match"
    page.keyboard.press("Tab")  # the matches: one stop, arrows go on
    for key, wanted in (("ArrowRight", 1), ("End", 4), ("ArrowRight", 4), ("ArrowLeft", 3), ("Home", 0),
                        ("ArrowDown", 1)):
        page.keyboard.press(key)
        pressed = page.locator("#matches button[aria-pressed=true]")
        assert pressed.locator(".score b").inner_text() == str(wanted + 1)
        assert pressed.evaluate("(button) => button === document.activeElement")
    page.keyboard.press("Enter")
    page.wait_for_selector("#large[open]")
    assert names[1] in page.locator("#large-caption").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#large-caption").inner_text().startswith("3. ")
    page.keyboard.press("Escape")
    assert page.locator("#large").is_hidden()
    assert page.evaluate("document.activeElement.closest('#matches') !== null"), "the focus is where it was"


@pytest.mark.parametrize("width", [320, 390, 1600])
def test_the_page_fits_every_width(open_page, photo, width):
    page = open_page(width=width, height=800)
    drop(page, "mine.png", photo)
    results(page)
    shown(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    query, match = (page.locator(selector).bounding_box() for selector in ("#query", "#match"))
    assert query["y"] == match["y"], "side by side"
    rows = {round(page.locator("#matches li").nth(n).bounding_box()["y"]) for n in range(5)}
    assert len(rows) == (3 if width < 400 else 1)
    if width < 400:
        edge = page.locator("#matches li").nth(1).bounding_box()
        assert width - (edge["x"] + edge["width"]) <= 20, "the width is filled"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_readable(open_page, photo, scheme, contrasts):
    page = open_page(scheme=scheme)
    drop(page, "mine.png", photo)
    results(page)
    page.evaluate("document.getElementById('problem').hidden = false")
    found = contrasts(page, "h1", "dt", "dd", "#chosen", "#drop span", "legend", "#status", "#match-caption",
                      ".hint", "#matches .name", "#matches .score", "input:checked + span", "#problem")
    assert min(found.values()) >= 4.5, found
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(244, 246, 248)", "dark": "rgb(18, 23, 29)"}[scheme]
