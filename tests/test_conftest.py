"""The hooks of conftest.py, in runs of pytest of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MISSING_TOOL = """
import pytest

@pytest.mark.skipif(True, reason="the tool is missing")
def test_a(): ...
"""
MISSING_TOOL_INSIDE = """
import pytest

def test_a():
    pytest.skip("the tool is missing")
"""
MISSING_MODULE = """
import pytest

pytest.importorskip("no_such_module", reason="the tool is missing")

def test_a(): ...
"""
MISSING_DATA = """
import pytest

@pytest.mark.needs_data
@pytest.mark.skipif(True, reason="the data set is missing")
def test_a(): ...
"""
EXPECTED_FAILURE = """
import pytest

@pytest.mark.xfail(reason="known")
def test_a():
    assert False
"""
RANDOM = """
def test_a(seed):
    assert seed != 7
"""


def run(folder, text, **variables):
    """Exit code and output of pytest on a module ``text`` with our conftest.py."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = needs_data\n", encoding="utf-8")
    (folder / "test_a.py").write_text(text, encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KESTREL_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs"],
        cwd=folder, env=kept | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize(("text", "closing"), [(MISSING_TOOL, "1 error"), (MISSING_TOOL_INSIDE, "1 failed")])
def test_a_skipped_test_fails_where_none_may_be_skipped(tmp_path, text, closing):
    code, output = run(tmp_path, text, KESTREL_NO_SKIPS="1")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "the tool is missing" in output
    assert closing in output


def test_a_skipped_module_fails_where_none_may_be_skipped(tmp_path):
    code, output = run(tmp_path, MISSING_MODULE, KESTREL_NO_SKIPS="1")
    assert code == pytest.ExitCode.INTERRUPTED
    assert "the tool is missing" in output


@pytest.mark.parametrize("text", [MISSING_TOOL, MISSING_TOOL_INSIDE, MISSING_DATA])
def test_tests_are_skipped_elsewhere(tmp_path, text):
    code, output = run(tmp_path, text)
    assert code == pytest.ExitCode.OK
    assert "1 skipped" in output


@pytest.mark.parametrize(("text", "closing"), [(MISSING_DATA, "1 skipped"), (EXPECTED_FAILURE, "1 xfailed")])
def test_missing_data_and_expected_failures_are_no_missing_tools(tmp_path, text, closing):
    code, output = run(tmp_path, text, KESTREL_NO_SKIPS="1")
    assert code == pytest.ExitCode.OK
    assert closing in output


def test_a_failure_says_which_seed_repeats_it(tmp_path):
    code, output = run(tmp_path, RANDOM, KESTREL_SEED="7")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "KESTREL_SEED=7 repeats this test" in output
