"""The embedded network, exported and run on the engine."""

import json

from kestrel.cli.main import run
from kestrel.export.export import import_network
from kestrel.sw.model.compressed import load_network, same
from kestrel.sw.model.embedded import EMBEDDED

SMALL = ["--config", "nano", "--size", "32", "--json"]


def test_it_is_exported_whole(tmp_path, capsys):
    assert run(["export", EMBEDDED, "-o", str(tmp_path / "rom"), *SMALL]) == 0, capsys.readouterr().err
    assert same(import_network(tmp_path / "rom"), load_network(EMBEDDED))


def test_the_engine_equals_the_reference_on_it(capsys):
    assert run(["simulate", EMBEDDED, "random:1", *SMALL]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert found["bit_exact"] is True
    assert found["cycles"] == found["model_cycles"]
    assert len(found["layers"]) == len(load_network(EMBEDDED).layers)


def test_it_is_planned_by_its_name(capsys):
    assert run(["plan", EMBEDDED, *SMALL]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert found["network"] == load_network(EMBEDDED).name
    assert found["proved"] is True
