"""The whole way in a script."""

import sys

from kestrel.examples import quickstart


def test_the_whole_way(tmp_path, monkeypatch, capsys):
    found = quickstart.quickstart(tmp_path)
    assert capsys.readouterr() == ("", ""), "functions print nothing"
    assert found["values compared"] > 10_000
    assert found["mismatches"] == 0
    assert found["as modelled"]
    assert 0.8 < found["mAP"] <= 1
    assert found["score of the nearest"] > 0.9, "the query is in the index"
    for name in ("small.safetensors", "scenes.index", "rom/manifest.json", "rtl/kestrel_engine.v"):
        assert (tmp_path / name).is_file()

    monkeypatch.setattr(quickstart, "quickstart", lambda folder: found)
    monkeypatch.setattr(sys, "argv", ["quickstart"])
    assert quickstart.main() == 0
    assert "mAP" in capsys.readouterr().out
