"""The addresses of the server: what they answer, and what they refuse."""

import asyncio
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from kestrel.sw.pictures.images import generate_picture, open_image
from kestrel.sw.serve import app as app_module
from kestrel.sw.serve.guard import HEADERS
from kestrel.sw.serve.limits import FORM_BYTES, QUEUE
from kestrel.sw.serve.searcher import Searcher

FORM = {"Content-Type": "multipart/form-data; boundary=b"}

SEARCH = {"type": "http", "method": "POST", "path": "/api/search", "query_string": b"", "http_version": "1.1"}

pytestmark = pytest.mark.usefixtures("one_thread")


def run_alone(task):
    """What ``task`` returns, on a loop of a thread of its own: a browser of other tests may have one here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, task).result()


def test_a_photograph_of_the_collection_finds_itself(client, ask, photo):
    status, found = ask(client, photo, name="some where\\my.png")
    assert status == 200
    assert found["query"] == {"name": "my.png", "height": 40, "width": 56, "remarks": []}
    assert (found["codes"], found["engine"], found["measure"]) == ("floats", "reference", "inner product")
    assert found["frames"] is None
    assert found["cycles"] is None
    assert len(found["matches"]) == 5
    best = found["matches"][0]
    assert (best["rank"], best["name"], best["has_picture"]) == (1, "3.png", True)
    assert best["score"] == pytest.approx(1, abs=1e-5)
    assert best["regions"][0]["agreement"] == pytest.approx(1, abs=1e-3)
    assert best["regions"][0]["query"] == best["regions"][0]["match"]
    assert best["regions"][0]["query"].keys() == {"left", "top", "width", "height"}


@pytest.mark.parametrize("codes", ["floats", "bytes", "bits"])
def test_scores_are_those_of_the_index_in_each_code(place, client, ask, photo, codes):
    _, found = ask(client, photo, codes=codes, count=7)
    vector = place.engines["reference"].describe_picture(open_image(place.folder / "3.png"))
    wanted = place.index.recoded(codes).search(vector[None], 7)[0]
    assert [match["name"] for match in found["matches"]] == list(wanted.names)
    assert [match["score"] for match in found["matches"]] == list(wanted.scores)
    assert found["measure"] == ("Hamming distance" if codes == "bits" else "inner product")


def test_the_chip_finds_the_same_and_says_how_many_cycles_it_took(client, ask, photo):
    _, reference = ask(client, photo)
    _, chip = ask(client, photo, engine="rtl")
    assert chip["matches"] == reference["matches"]
    assert chip["frames"] == 1
    assert 1_000 < chip["cycles"] < 10_000_000
    _, again = ask(client, photo, engine="rtl")
    assert again["cycles"] == chip["cycles"], "of this search alone"


def test_as_many_matches_regions_and_previews_as_are_asked_for(client, ask, photo):
    _, found = ask(client, photo, count=3, regions=1)
    assert [len(match["regions"]) > 0 for match in found["matches"]] == [True, False, False]
    assert "preview" not in found["query"]
    _, found = ask(client, photo, count=1, regions=0, preview=1)
    assert found["matches"][0]["regions"] == []
    assert found["query"]["preview"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(("fields", "message"), [
    ({"codes": "words"}, "codes 'words'; allowed: floats, bytes, bits"),
    ({"engine": "abacus"}, "engine 'abacus'; allowed: reference, rtl"),
    ({"count": "0"}, "count 0; allowed: 1..100"), ({"count": "101"}, "count 101; allowed: 1..100"),
    ({"count": "-1"}, "count '-1'; allowed: a number"), ({"count": "٣"}, "count '٣'; allowed: a number"),
    ({"regions": "999"}, "regions 999; allowed: 0..100"),
    ({"depth": "1"}, "field 'depth'; allowed: picture, codes"),
], ids=str)  # fmt: skip
def test_fields_that_are_not_allowed(client, ask, photo, fields, message):
    status, found = ask(client, photo, **fields)
    assert status == 400
    assert message in found["error"]


def test_an_index_of_bits_and_a_chip_that_cannot_be(place, ask, photo):
    with TestClient(place.app("bits", refused={"rtl": "no room for it"})) as client:
        about = client.get("/api/about").json()
        assert (about["codes"], about["engines"], about["refused"]) == (["bits"], ["reference"],
                                                                        {"rtl": "no room for it"})
        assert ask(client, photo)[1]["codes"] == "bits"
        assert ask(client, photo, codes="floats") == (400, {"error": "codes 'floats'; allowed: bits"})
        assert ask(client, photo, engine="rtl") == (400, {"error": "engine rtl: no room for it"})
        page = client.get("/").text
        assert 'title="no room for it"' in page
        assert 'value="floats" disabled' in page


# --- uploads -----------------------------------------------------------------------------------------------


def test_what_is_no_picture_is_one_line_with_the_users_name(client, ask, photo):
    for content in (b"", b"no picture", photo[:60], photo[: len(photo) // 2]):
        status, found = ask(client, content, name="../../my holiday.png")
        assert status == 400, content
        assert found["error"].startswith("my holiday.png: not a readable image")
        assert "/" not in found["error"], "nothing of this machine's folders"
        assert "\n" not in found["error"]


def test_formats_that_other_programs_would_have_to_read_are_not_tried(client, ask):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(evil) run\n%%EOF\n"
    for name in ("a.eps", "a.jpg"):
        status, found = ask(client, eps, name=name)
        assert status == 400
        assert "cannot identify image file" in found["error"]


def test_a_picture_of_too_many_pixels_is_refused_unread(client, ask, tmp_path):
    Image.new("1", (201, 200)).save(tmp_path / "big.png")
    status, found = ask(client, (tmp_path / "big.png").read_bytes(), name="big.png")
    assert status == 400
    assert found["error"] == "big.png: image of 201 x 200 pixels; allowed: at most 40000 pixels"
    Image.new("1", (200, 200)).save(tmp_path / "big.png")
    assert ask(client, (tmp_path / "big.png").read_bytes())[0] == 200


def test_an_upload_that_is_too_large_is_refused(client, ask):
    status, found = ask(client, bytes(200_001))
    assert (status, found["error"]) == (413, "upload too large; allowed: at most 0.191 MiB")
    assert ask(client, bytes(200_000))[0] == 400, "as large as allowed, but no picture"
    # Announced as longer than it may be: not a byte of it is read.
    status, _ = run_alone(raw(client.app, [], {"content-length": "99999999"}))
    assert status == 413


def test_an_upload_of_unknown_length_is_counted(client):
    sent = []

    def blocks():
        yield b"--b\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"a\"\r\n\r\n"
        for number in range(1000):
            sent.append(number)
            yield bytes(10_000)

    found = client.post("/api/search", content=blocks(), headers=FORM)
    assert found.status_code == 413
    messages = [{"type": "http.request", "body": bytes(50_000), "more_body": True}] * 1000
    head = {"type": "http.request", "more_body": True,
            "body": b"--b\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"a\"\r\n\r\n"}
    taken = []
    status, _ = run_alone(raw(client.app, [head, *messages], {}, taken))
    assert status == 413
    assert len(taken) <= 2 + (200_000 + FORM_BYTES) // 50_000, "no more is read than shows it"


def test_an_upload_that_ends_early_disturbs_nobody(client, ask, photo):
    head = {"type": "http.request", "more_body": True,
            "body": b"--b\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"a\"\r\n\r\nxyz"}
    status, body = run_alone(raw(client.app, [head, {"type": "http.disconnect"}], {}))
    assert (status, json.loads(body)) == (400, {"error": "the upload ended too early"})
    assert ask(client, photo)[0] == 200


# Starlette leaves the file of a part without an end to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_form_without_its_end_has_no_picture(client, ask, photo):
    body = b"--b\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"a\"\r\n\r\n" + photo
    found = client.post("/api/search", content=body, headers=FORM)
    assert (found.status_code, found.json()["error"][:10]) == (400, "no picture")
    assert ask(client, photo)[0] == 200


@pytest.mark.parametrize(("content", "kind"), [
    (b"", "multipart/form-data; boundary=b"), (b"picture=abc", "application/x-www-form-urlencoded"),
    (b"{}", "application/json"), (b"garbage", "multipart/form-data"),
    (b"--b\r\nX: y", "multipart/form-data; boundary=b"),
    (b'--b\r\nContent-Disposition: form-data; name="picture"\r\n\r\nabc\r\n--b--\r\n',
     "multipart/form-data; boundary=b"),
], ids=str)  # fmt: skip
def test_a_form_without_a_picture(client, content, kind):
    found = client.post("/api/search", content=content, headers={"Content-Type": kind})
    assert found.status_code == 400
    assert isinstance(found.json()["error"], str)


def test_two_pictures_at_once_are_refused(client, photo):
    found = client.post("/api/search", files=[("picture", ("a", photo)), ("picture", ("b", photo))])
    assert found.status_code == 400
    assert "files" in found.json()["error"].lower()


async def raw(app, messages, headers, taken=None):
    """An answer's status and body to messages that no well-behaved client sends."""
    waiting = iter(messages)
    answer = {"status": None, "body": b""}

    async def receive():
        message = next(waiting)
        if taken is not None:
            taken.append(message)
        return dict(message)

    async def send(message):
        answer["status"] = message.get("status", answer["status"])
        answer["body"] += message.get("body", b"")

    given = {"host": "testserver", "content-type": "multipart/form-data; boundary=b"} | headers
    await app(SEARCH | {"headers": [(name.encode(), value.encode()) for name, value in given.items()]},
              receive, send)
    return answer["status"], answer["body"]


# --- many at once ------------------------------------------------------------------------------------------


def test_bad_uploads_among_good_ones_change_nothing(client, ask, place):
    wanted = {n: ask(client, (place.folder / f"{n}.png").read_bytes())[1]["matches"] for n in range(4)}

    def one(number):
        content = (place.folder / f"{number % 4}.png").read_bytes()
        if number % 3 == 1:
            return number, ask(client, content[: 40 + number])
        return number, ask(client, content)

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(one, range(12)))
    for number, (status, found) in answers:
        if number % 3 == 1:
            assert status == 400
        else:
            assert (status, found["matches"]) == (200, wanted[number % 4])


def test_only_so_many_searches_run_and_only_so_many_wait(place, ask, photo, monkeypatch):
    running, most, gate = [], [], threading.Event()
    search = Searcher.search

    def counted(self, *arguments):
        running.append(1)
        most.append(len(running))
        gate.wait(60)
        running.pop()
        return search(self, *arguments)

    monkeypatch.setattr(Searcher, "search", counted)
    with TestClient(place.app()) as client, ThreadPoolExecutor(QUEUE + 4) as threads:
        asked = [threads.submit(ask, client, photo) for _ in range(QUEUE + 4)]
        refused = [0]
        while refused[0] < 4:  # the others wait for the gate
            refused[0] = sum(job.done() for job in asked)
        assert client.get("/api/about").status_code == 200, "the page answers all the while"
        gate.set()
        answers = [job.result() for job in asked]
    assert sorted(status for status, _ in answers) == [200] * QUEUE + [503] * 4
    assert max(most) == 2
    error = next(found["error"] for status, found in answers if status == 503)
    assert error.startswith(f"{QUEUE} searches are under way or waiting")


def test_a_defect_is_said_and_the_server_goes_on(place, ask, photo, monkeypatch):
    def broken(self, *arguments):
        raise RuntimeError("loose screw")

    with TestClient(place.app(), raise_server_exceptions=False) as client:
        with monkeypatch.context() as patched:
            patched.setattr(Searcher, "search", broken)
            assert ask(client, photo) == (500, {"error": "the server failed (RuntimeError)"})
        assert ask(client, photo)[0] == 200


def test_a_slow_upload_is_given_up(place, monkeypatch):
    monkeypatch.setattr(app_module, "UPLOAD_SECONDS", 0.05)

    async def never():
        await asyncio.sleep(30)

    async def slow():
        answer = {}

        async def send(message):
            answer.setdefault("status", message.get("status"))

        headers = [(b"host", b"testserver"), (b"content-type", b"multipart/form-data; boundary=b")]
        await place.app()(SEARCH | {"headers": headers}, never, send)
        return answer["status"]

    assert run_alone(slow()) == 408


# --- pictures and headers ----------------------------------------------------------------------------------


def test_pictures_come_reduced_by_their_name(client, place):
    for name in ("3.png", "in%20ner/%C3%A4%20%231%25.jpg"):
        for size in ("small", "large"):
            found = client.get(f"/pictures/{size}/{name}")
            assert (found.status_code, found.headers["content-type"]) == (200, "image/jpeg")
            assert found.content.startswith(b"\xff\xd8")


@pytest.mark.parametrize("address", [
    "/pictures/huge/3.png", "/pictures/small/nothing.png", "/pictures/small/..%2Fsecret.png",
    "/pictures/small/%2e%2e/secret.png", "/pictures/small//etc/passwd", "/pictures/small/%2Fetc%2Fpasswd",
    "/pictures/small/in ner/../3.png%00", "/pictures/small/", "/static/../app.py", "/static/%2e%2e/app.py",
    "/static/..%2fapp.py", "/app.py", "/api/search/x",
])
def test_nothing_else_is_served(client, address):
    found = client.get(address)
    assert found.status_code == 404
    assert b"def " not in found.content


def test_every_answer_carries_the_headers_that_bind_the_page(client, ask, photo):
    answers = [client.get("/"), client.get("/static/page.js"), client.get("/pictures/small/3.png"),
               client.get("/nothing"), client.get("/", headers={"Host": "evil.example"}),
               client.post("/api/search", files={"picture": ("a", photo)})]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    text = answers[0].text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert "style=" not in text
    assert "<script>" not in text


def test_other_names_and_other_sites_are_refused(client, photo):
    found = client.get("/", headers={"Host": "evil.example:8000"})
    assert (found.status_code, found.json()["error"]) == (
        403, "host 'evil.example:8000'; allowed: testserver, 127.0.0.1")
    assert client.get("/", headers={"Host": "127.0.0.1:8000"}).status_code == 200
    for origin in ("http://evil.example", "null"):
        found = client.post("/api/search", files={"picture": ("a", photo)}, headers={"Origin": origin})
        assert (found.status_code, found.json()["error"]) == (
            403, f"asked by a page of {origin!r}; allowed: pages of this server")
    found = client.post("/api/search", files={"picture": ("a", photo)}, headers={"Origin": "http://testserver"})
    assert found.status_code == 200


def test_a_query_of_another_shape_and_colour_is_no_trouble(client, ask):
    for size in ((1, 1), (3, 300), (300, 3)):
        picture = np.array(Image.fromarray(generate_picture(40, 40, 1)).resize(size), dtype=np.uint8)
        buffer = Image.fromarray(picture).convert("L")
        with_alpha = Image.merge("LA", [buffer, buffer])
        content = io.BytesIO()
        with_alpha.save(content, "PNG")
        assert ask(client, content.getvalue())[0] == 200, size
