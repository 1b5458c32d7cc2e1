"""Controls under the names that they had in older files: read, and told."""

from __future__ import annotations

import json
from pathlib import Path

from device import profile
from firmware_py.control.midi_map import MidiMap
from firmware_py.state.preset_file import digest_of
from firmware_py.state.presets import Presets


def test_presets_have_the_new_names(tmp_path: Path) -> None:
    Presets(tmp_path).save("a", {"mix": 10.0})
    path = Presets(tmp_path).path
    table = json.loads(path.read_text())
    table.pop("sha256")
    table["presets"][0]["values"] |= {"freeze": 1.0}
    path.write_text(json.dumps(table | {"sha256": digest_of(table)}))
    told: list[str] = []
    assert Presets(tmp_path, warn=told.append).load("a").values == {"mix": 10.0, "lock": 1.0}
    assert len(told) == 1 and "freeze is called lock now" in told[0]


def test_midi_maps_have_the_new_names(tmp_path: Path) -> None:
    rows = {"freeze": {"source": "cc 30"}}
    table = {"version": 2, "channel": None, "listen": [], "out": None, "assignments": rows}
    (tmp_path / "midi.json").write_text(json.dumps(table))
    kept = MidiMap(tmp_path)
    assert str(kept.assignments()["lock"].source) == "cc 30"
    assert "freeze is called lock now" in kept.complaint


def test_profiles_have_the_new_names(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    text = (Path(profile.__file__).parent / "profiles/sim.toml").read_text()
    own.write_text(text.replace('action = "hold"', 'action = "freeze"'))
    switch = profile.load(str(own)).switches[1]
    assert (switch.action, switch.control) == ("lock", "lock")
