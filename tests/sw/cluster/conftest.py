"""One cluster of two processes for all tests of this folder's modules: starting one takes seconds."""

import pytest

from kestrel.sw.cluster.runner import Cluster, open_runner

WORK = '''
import os
import signal
import time
from pathlib import Path

from kestrel.hw.spec.errors import InputError


def write(folder, number, seconds=0.0):
    time.sleep(seconds)
    path = Path(folder, f"{number}.txt")
    temporary = path.with_suffix(".part")
    temporary.write_text(f"{number * number}\\\\n")
    temporary.replace(path)
    return number * number


def always_dies():
    os.kill(os.getpid(), signal.SIGKILL)


def dies_once(folder, number):
    try:
        Path(folder, "died").touch(exist_ok=False)
    except FileExistsError:
        return write(folder, number)
    os.kill(os.getpid(), signal.SIGKILL)


def raises(text):
    raise RuntimeError(text)


def refuses(text):
    raise InputError(text)


def pid(seconds=0.0):
    time.sleep(seconds)
    return os.getpid()


def takes(megabytes):
    held = []
    for _ in range(megabytes // 50):
        held.append(b"x" * 50_000_000)
        time.sleep(0.1)
    time.sleep(5)
'''.replace("\\\\", "\\")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A module of pieces that this process and the workers can import."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "pieces_for_tests.py").write_text(WORK, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        paths = [str(folder), *filter(None, [__import__("os").environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", ":".join(paths))
        yield __import__("pieces_for_tests")


@pytest.fixture(scope="module")
def runner(work):
    pytest.importorskip("distributed")
    with open_runner(Cluster(workers=2)) as found:
        yield found
