"""`nverb doctor` on a machine where some things are wrong, by its command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firmware_py.cli import main


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs it with a settings file of this text; what it found, by the check's name."""
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path / "runtime"))

    def run(settings: str = "version = 1\n") -> dict[str, Any]:
        (tmp_path / "settings.toml").write_text(settings)
        main(["doctor", "--json"])
        return {result["name"]: result for result in json.loads(capsys.readouterr().out)}

    return run


def test_a_desk_with_the_simulated_board(results: Any) -> None:
    found = results()
    assert found["board"]["state"] == "ok" and "sim" in found["board"]["found"]
    assert found["pedal"]["state"] == "hint" and "nverb run" in found["pedal"]["found"]
    assert {result["state"] for result in found.values()} <= {"ok", "hint", "bad", "none"}


def test_a_converter_that_is_not_there_is_named_with_its_remedy(results: Any) -> None:
    found = results('version = 1\nprofile = "pi-mcp3008"\n')["board"]
    assert found["state"] == "bad"
    assert "spidev" in found["found"] and "pi-mcp3008" in found["remedy"]


def test_a_bad_settings_file_is_told_and_the_rest_still_looked_at(results: Any) -> None:
    found = results("version = 1\nblok_frames = 64\n")
    assert found["settings"]["state"] == "bad" and "block_frames" in found["settings"]["found"]
    assert found["jackd"]["state"] == "ok"


def test_each_complaint_has_a_remedy_on_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "settings.toml").write_text('version = 1\nprofile = "nothing"\n')
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("bad   board")]
    assert "no board profile 'nothing'" in lines[at] and "nverb board list" in lines[at + 1]
