"""Help at 80 columns: panels, examples, completion; and what is said after Ctrl-C."""

import os
import shlex
import subprocess
import sys

import pytest

from kestrel.cli import main
from kestrel.cli.help.examples import EXAMPLES
from kestrel.cli.help.panels import PANELS
from kestrel.cli.rules.stopping import NOTHING_KEPT

WIDTH = 80


def test_every_command_has_two_examples_and_no_other(leaf_commands):
    assert set(EXAMPLES) == set(leaf_commands)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_understood(name, leaf_commands):
    command = leaf_commands[name]
    for line in EXAMPLES[name]:
        assert len(line) <= WIDTH - 2, "in one line of the help"
        words = shlex.split(line)
        assert words[:1 + len(name.split())] == ["kestrel", *name.split()]
        context = command.make_context(name, words[1 + len(name.split()):])
        command.check_effects(context)


def test_panels_name_options(leaf_commands):
    for name, panels in PANELS.items():
        options = {p.name for p in leaf_commands[name].params if p.param_type_name == "option"}
        named = [option for names in panels.values() for option in names.split()]
        assert set(named) <= options, name
        assert len(named) == len(set(named)), name
        assert options - set(named), "the common ones"


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_fits_and_shows_all_of_it(name, capsys, monkeypatch, leaf_commands):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    assert main.run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= WIDTH for line in shown.splitlines())
    assert "…" not in shown
    lines = [line.strip() for line in shown.splitlines()]
    for example in EXAMPLES[name]:
        assert example in lines
    for panel in PANELS.get(name, {}):
        assert f"─ {panel} ─" in shown
    for parameter in leaf_commands[name].params:
        if parameter.param_type_name == "option":
            assert max(parameter.opts, key=len) in shown


def test_the_list_of_commands_shows_whole_sentences(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main.run(["--help"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ ")]
    summaries = [row.strip("│ ") for row in rows if row.split()[1] in main.COMMANDS]
    assert len(summaries) == len(main.COMMANDS)
    assert [summary for summary in summaries if not summary.endswith(".")] == []


@pytest.mark.parametrize(("typed", "completed"), [
    ("kestrel sim", "simulate"), ("kestrel describe --pool", "--pooling"), ("kestrel index in", "info"),
])  # fmt: skip
def test_completion_in_the_shell(typed, completed):
    words = typed.split()
    done = subprocess.run(
        [sys.executable, "-m", "kestrel.cli.main"], capture_output=True, text=True, check=False,
        env={**os.environ, "_KESTREL_COMPLETE": "complete_bash", "COMP_WORDS": typed,
             "COMP_CWORD": str(len(words) - 1)},
    )  # fmt: skip
    assert completed in done.stdout.split(), done.stderr


def stopping(monkeypatch, where):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, stop)


def test_a_stopped_command_says_that_nothing_was_written(monkeypatch, capsys, tmp_path):
    stopping(monkeypatch, "kestrel.cli.networks.compress.load_weights")
    assert main.run(["compress", "random:1", "-o", str(tmp_path / "n.safetensors")]) == main.EXIT_INTERRUPTED
    assert f"kestrel: stopped; {NOTHING_KEPT}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_stopped_command_says_what_is_kept(monkeypatch, capsys, tmp_path):
    stopping(monkeypatch, "kestrel.cli.retrieval.describe.describe_pictures")
    parts = tmp_path / "d.npz.parts"
    parts.mkdir()
    code = main.run(["describe", "embedded", str(tmp_path), "-o", str(tmp_path / "d.npz"), "--size", "32"])
    assert code == main.EXIT_INTERRUPTED
    assert f"kestrel: stopped; {parts} keeps the vectors that were finished; " in capsys.readouterr().err
