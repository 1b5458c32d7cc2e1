"""`nverb preset`: asking changes nothing, and each change says what it did. No pedal runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware_py.cli import main
from firmware_py.state.presets import Presets


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Presets:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    presets = Presets(tmp_path)
    for name in ("Hall", "Room"):
        presets.save(name, {"mix": 40.0})
    presets.set_startup("Hall")
    return presets


def test_asking_for_the_startup_preset_keeps_it(presets: Presets, capsys) -> None:
    before = presets.path.read_bytes()
    assert main(["preset", "startup"]) == 0
    assert capsys.readouterr().out == "Hall\n"
    assert presets.path.read_bytes() == before
    assert main(["preset", "startup", "--none"]) == 0
    assert presets.startup is None and "no startup preset" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["remove", "delete"])
def test_removed_preset_comes_back_by_undo(presets: Presets, capsys, word: str) -> None:
    assert main(["preset", word, "hall"]) == 0
    assert "Hall removed" in capsys.readouterr().out
    assert main(["preset", "undo"]) == 0
    assert capsys.readouterr().out == "Hall is back\n"
    assert presets.startup == presets.load("Hall")


def test_list_is_prose_free_with_json(presets: Presets, capsys) -> None:
    assert main(["preset", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    own = [(row["number"], row["name"], row["startup"]) for row in rows if not row["factory"]]
    assert own == [(1, "Hall", True), (2, "Room", False)]
    for name in ("Hall", "Room"):
        presets.remove(name)
    assert main(["preset", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["factory"] for row in rows) and rows
