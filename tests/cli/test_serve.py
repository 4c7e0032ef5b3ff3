"""``kestrel serve`` as a user runs it: refusals in one line, a server that Ctrl-C ends."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec

import httpx2 as httpx
import numpy as np
import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.cli.retrieval import serve as module
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.verif.cases.random_network import random_network

NAME = "vgg16/32:pool2"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """Two networks, photographs and an index of them."""
    folder = tmp_path_factory.mktemp("user")
    for seed, name in ((5, "n"), (6, "other")):
        network = random_network(np.random.default_rng(seed), parse_network(NAME).layers, 3, name=NAME)
        save_network(network, folder / f"{name}.safetensors")
    (folder / "photos").mkdir()
    for n in range(3):
        Image.fromarray(generate_picture(40, 50, n)).save(folder / "photos" / f"{n}.png")
    with contextlib.chdir(folder):
        for name, *more in (("reference",), ("float", "--weights", "random:1")):
            assert run(["describe", "n.safetensors", "photos", "-o", f"{name}.npz", "--size", "32",
                        "--backend", name, *more]) == 0
            assert run(["index", "add", f"{name}.index", f"{name}.npz"]) == 0
    return folder


@pytest.fixture
def here(user, monkeypatch):
    monkeypatch.chdir(user)
    return user


def refused(capsys, *arguments):
    capsys.readouterr()
    assert run(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.strip().splitlines()
    return line


GOOD = ["reference.index", "--network", "n.safetensors"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["gone.index", "--network", "n.safetensors"], "gone.index: no such index"),
    (["photos/0.png", "--network", "n.safetensors"], "photos/0.png: not a readable index"),
    (["reference.index", "--network", "gone.safetensors"], "gone.safetensors"),
    (["reference.index", "--network", "other.safetensors"],
     "descriptors made with other.safetensors and the index cannot be compared: network is SHA-256"),
    ([*GOOD, "--weights", "random:1"], "weights random:1 with backend reference"),
    (["float.index", "--network", "n.safetensors"],
     "backend float needs the float weights; allowed: --weights"),
    (["float.index", "--network", "n.safetensors", "--weights", "random:2"],
     "n.safetensors, random:2 and the index cannot be compared: network is SHA-256"),
    (["float.index", "--network", "n.safetensors", "--weights", "random:1", "--backend-set", "config=nano"],
     "--backend-set: the index was made by the float network"),
    ([*GOOD, "--backend-set", "config=gone"], "configuration 'gone'"),
    ([*GOOD, "--backend-set", "config=nano", "--no-chip"], "--backend-set has no effect with --no-chip"),
    ([*GOOD, "--images", "gone"], "--images gone: no such folder"),
    ([*GOOD, "--count", "0"], "--count 0; allowed: 1..100"),
    ([*GOOD, "--port", "70000"], "--port 70000; allowed: 0..65535"),
    ([*GOOD, "--max-upload", "0"], "--max-upload 0; allowed: 1..1024"),
    ([*GOOD, "--max-megapixels", "135"], "--max-megapixels 135; allowed: 1..134"),
    ([*GOOD, "--jobs", "0"], "--jobs 0; allowed: 1..64"),
    ([*GOOD, "--host", "203.0.113.7"], "203.0.113.7:8000: "),
    (["reference.index"], "Missing option '--network'"),
], ids=str)  # fmt: skip
def test_what_cannot_be_served_is_refused_in_one_line(here, capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_a_port_that_is_taken_is_refused(here, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port}: Address already in use; allowed: --host and --port that are" in refused(
            capsys, *GOOD, "--port", str(port))


def test_without_the_extra_it_says_what_to_install(here, capsys, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "uvicorn" else find_spec(name))
    assert refused(capsys, *GOOD) == (
        "kestrel: error: kestrel serve needs uvicorn; allowed: after pip install 'kestrel-engine[serve]'")


def started(*arguments):
    """A server in a process of its own, and the JSON that it prints when it listens."""
    command = [sys.executable, "-m", "kestrel.cli.main", "serve", *arguments, "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    text = ""
    assert process.stdout is not None
    for line in process.stdout:
        text += line
        if line == "}\n":
            return process, json.loads(text)
    raise AssertionError(process.communicate()[1])


def test_it_serves_until_ctrl_c(here):
    process, about = started(*GOOD, "--backend-set", "config=nano", "--images", "photos")
    try:
        assert about.keys() == {"url", "index", "count", "codes", "engines", "refused"}
        assert (about["count"], about["codes"], about["engines"]) == (3, "floats", ["reference", "rtl"])
        assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/", about["url"])
        picture = (here / "photos" / "1.png").read_bytes()
        found = httpx.post(f"{about['url']}api/search", files={"picture": picture}, timeout=60).json()
        assert found["matches"][0]["name"] == "1.png"
        shown = httpx.get(f"{about['url']}pictures/small/1.png", timeout=60)
        assert shown.headers["content-type"] == "image/jpeg"
        # A connection that sends nothing more does not keep it.
        with socket.create_connection(("127.0.0.1", int(about["url"].split(":")[2].strip("/")))) as idle:
            idle.sendall(b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
                         b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "kestrel: ended; nothing was written\n")


def test_a_chip_that_cannot_be_and_pictures_that_are_gone_are_said(here, tmp_path):
    process, about = started("float.index", "--network", "n.safetensors", "--weights", "random:1", "--images",
                             str(tmp_path))
    httpx.get(f"{about['url']}api/about", timeout=60)  # it listens before it answers
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, about["engines"]) == (0, ["float"])
    assert about["refused"] == {"rtl": "the index was made by the float network"}
    assert err.splitlines() == [
        "kestrel: without rtl: the index was made by the float network",
        "kestrel: warning: float.index: 3 of 3 pictures are not found, such as 0.png; --images FOLDER tells "
        "where they are",
        "kestrel: ended; nothing was written"]
