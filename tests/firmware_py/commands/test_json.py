"""Lists and previews of commands: --json without prose, --dry-run without a change. No pedal."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from bank.build import build
from device.controls import CONTROLS
from device.profile import PACKAGED
from firmware_py.cli import main
from firmware_py.commands.table import build_parser
from firmware_py.state.preset_file import Preset, to_bytes
from models.generator import room_at


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(words) == 0
    return json.loads(capsys.readouterr().out)


def test_controls_are_listed_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "controls", "--json")
    assert [row["name"] for row in rows] == [control.name for control in CONTROLS]
    mix = next(row for row in rows if row["name"] == "mix")
    assert (mix["minimum"], mix["maximum"], mix["unit"], mix["cc"]) == (0, 100, "%", 91)


def test_profiles_are_listed_for_programs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "profiles").mkdir()
    (data / "profiles/bad.toml").write_text("title = ")
    rows = {row["name"]: row for row in answer(capsys, "board", "list", "--json")}
    assert rows["sim"]["title"] and not rows["sim"]["own"] and not rows["sim"]["fault"]
    assert rows["bad"]["own"] and rows["bad"]["fault"]


def test_settings_are_shown_for_programs_at_each_level(capsys: pytest.CaptureFixture[str]) -> None:
    values = answer(capsys, "settings", "--json")
    assert values == answer(capsys, "settings", "show", "--json")
    assert answer(capsys, "settings", "get", "card", "--json") == {"card": values["card"]}
    assert main(["settings", "show", "crad"]) == 1
    assert "did you mean card?" in capsys.readouterr().err


def test_each_list_is_there_for_programs() -> None:
    """Commands and words that only print take --json; a menu such as `nverb bank` has none."""
    listing = {"list", "show", "info", "status", "get", "controls", "doctor", "eval"}
    without = []

    def walk(parser: argparse.ArgumentParser) -> None:
        words = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        for action in words:
            for name, child in action.choices.items():
                if name in listing and "--json" not in child._option_string_actions:
                    without.append(child.prog)
                walk(child)

    walk(build_parser())
    assert not without


def test_wiring_is_shown_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    shown = answer(capsys, "board", "show", "pi-mcp3008", "--json")
    assert [knob["control"] for knob in shown["knobs"]] == ["gain", "x", "y", "z", "width"]
    assert shown["adcs"][0]["chip"] == "mcp3008" and not shown["knobs"][0]["calibrated"]
    assert {switch["action"] for switch in shown["switches"]} >= {"bypass", "hold"}
    assert shown["leds"] and shown["path"].endswith("pi-mcp3008.toml")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("halls.nvbank", "would install bank halls@"),
        ("mine.json", "would save presets Hall, Room"),
        ("own.toml", "would write profile own"),
        ("cut.nvbank", ""),
        ("own.txt", ""),
    ],
)
@pytest.mark.parametrize("command", ["install", "push"])
def test_dry_run_checks_the_file_and_changes_nothing(
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
    told: str,
) -> None:
    build(tmp_path / "halls.nvbank", room_at, steps=2, name="halls")
    (tmp_path / "cut.nvbank").write_bytes((tmp_path / "halls.nvbank").read_bytes()[:-100])
    (tmp_path / "mine.json").write_bytes(to_bytes([Preset("Hall", {}), Preset("Room", {})]))
    (tmp_path / "own.toml").write_bytes((PACKAGED / "sim.toml").read_bytes())
    (tmp_path / "own.txt").write_text("no profile")
    kind = {"nvbank": "bank", "json": "preset"}.get(name.split(".")[1], "profile")
    words = ["install"] if command == "install" else ["push", "pedal.local", kind]
    assert main([*words, str(tmp_path / name), "--dry-run"]) == (0 if told else 1)
    found = capsys.readouterr()
    assert told in found.out
    if command == "push" and told:
        assert found.out.startswith("pedal.local: ") and " ssh " in found.out
    assert (found.err.count("\n"), found.out.count("\n")) == ((0, 1) if told else (1, 0))
    assert not list(data.iterdir())
