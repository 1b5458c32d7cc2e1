"""The presets that come with nverb: they stay as they are, and sound as they are called."""

import functools
from pathlib import Path

import numpy as np
import pytest

from device.controls import check, defaults, find, to_position, to_value
from device.modulation import MODULATORS
from dsp.acoustics import OCTAVES_HZ, measure
from firmware_py.cli import main
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.modulators import Modulator
from firmware_py.rooms.source import find_source
from firmware_py.state.factory_presets import LEFT_ALONE, PATH, factory_presets
from firmware_py.state.preset_file import KEPT, Preset, PresetError
from firmware_py.state.presets import Presets

RATE_HZ = 48000
VALUES = defaults()


@pytest.fixture
def presets(tmp_path: Path) -> Presets:
    return Presets(tmp_path, factory=factory_presets())


def test_factory_presets_hold_every_control_of_the_sound_within_its_range() -> None:
    ours = factory_presets()
    assert len({preset.name for preset in ours}) == len(ours)
    for preset in ours:
        assert set(preset.values) == set(KEPT) - set(LEFT_ALONE)
        assert preset.bank == ""
        for name, value in preset.values.items():
            check(find(name), value)


def test_the_page_names_the_factory_presets() -> None:
    page = " ".join((Path(__file__).parents[3] / "docs/hands.md").read_text().split())
    names = [preset.name for preset in factory_presets()]
    assert f"{len(names)} presets come with nverb: {', '.join(names)}." in page


def test_no_call_changes_a_factory_preset(presets: Presets) -> None:
    before = PATH.read_bytes()
    for refused in (
        lambda: presets.rename("Hall", "Other"),
        lambda: presets.remove("hall"),
        lambda: presets.move("Hall", 0),
    ):
        with pytest.raises(PresetError, match="'Hall' comes with nverb and stays as it is"):
            refused()
    presets.save("Hall", VALUES | {"mix": 77.0})
    assert presets.load("hall").values["mix"] == 77.0
    assert "Hall" not in [preset.name for preset in presets.factory()]
    presets.remove("Hall")
    assert presets.load("hall") == next(p for p in factory_presets() if p.name == "Hall")
    assert PATH.read_bytes() == before


def test_footswitch_and_midi_play_the_players_presets_once_there_are_some(presets: Presets) -> None:
    names = [preset.name for preset in factory_presets()]
    assert [preset.name for preset in presets.following(None, 1)] == names
    assert presets.at(3).name == names[3]
    presets.save("Mine", VALUES)
    assert [preset.name for preset in presets.following(None, 1)] == ["Mine"]
    assert presets.at(1) is None
    assert presets.load(names[3]).name == names[3]


def test_a_factory_preset_is_the_startup_preset_also_after_a_change_of_others(
    presets: Presets,
) -> None:
    presets.set_startup("spring")
    assert presets.startup.name == "Spring"
    presets.save("Mine", VALUES)
    assert presets.startup.name == "Spring"
    presets.save("spring", VALUES | {"mix": 1.0})
    assert presets.startup.values["mix"] == 1.0
    presets.set_startup(None)
    assert presets.startup is None


def test_the_list_shows_both_kinds_and_the_startup_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    assert main(["preset", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["with nverb:", "  1 Room"]
    assert len(lines) == 1 + len(factory_presets())
    Presets(tmp_path).save("Lead", VALUES)
    Presets(tmp_path).save("hall", VALUES)
    assert main(["preset", "startup", "Plate"]) == 0
    capsys.readouterr()
    assert main(["preset", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["  1 Lead", "  2 hall", "with nverb:"]
    assert "  - Plate *" in lines and "  - Hall" not in lines


def preset_named(name: str) -> Preset:
    return next(preset for preset in factory_presets() if preset.name == name)


@functools.cache
def ir(name: str, **values: float) -> np.ndarray:
    """The preset's room, as the pedal makes it: (2, taps)."""
    preset = preset_named(name)
    maker = RoomMaker(find_source(None), RATE_HZ, 6 * RATE_HZ)
    return maker.ir(VALUES | preset.values | values)


def t30_s(name: str, **values: float) -> float:
    """Of the octave of 1 kHz."""
    acoustics = measure(ir(name, **values)[0], RATE_HZ, start=0)
    return float(acoustics.t30_s[OCTAVES_HZ.index(1000)])


def centre_s(name: str) -> float:
    """Where the energy's centre of gravity is."""
    energy = (ir(name).astype(float) ** 2).sum(axis=0)
    return float((energy * np.arange(len(energy))).sum() / energy.sum() / RATE_HZ)


def test_factory_rooms_decay_as_long_as_their_names_say() -> None:
    order = ("Room", "Ambience", "Chamber", "Hall", "Cathedral")
    times = [t30_s(name) for name in order]
    assert times == sorted(times)
    assert times[0] < 0.7 and 1.0 < times[2] < 1.7 and 1.8 < times[3] < 3 and times[4] > 4.5


def test_gated_ends_and_swell_and_reverse_rise() -> None:
    """Gated falls by 40 dB within 0.4 s, faster than a room of its level in the first 0.2 s."""
    energy = (ir("Gated").astype(float) ** 2).sum(axis=0)
    steps = [energy[int(a * RATE_HZ) : int(b * RATE_HZ)].mean() for a, b in
             ((0.02, 0.08), (0.12, 0.18), (0.40, 0.46))]  # fmt: skip
    early_db, late_db = (10 * np.log10(steps[n] / steps[n + 1]) for n in (0, 1))
    assert early_db < 15 and late_db > 25
    assert centre_s("Swell") > 2 * centre_s("Hall")
    energy = (ir("Reverse").astype(float) ** 2).sum(axis=0)
    loudest_s = float(np.argmax(np.convolve(energy, np.ones(2400), "same")) / RATE_HZ)
    assert loudest_s > 0.8 * energy.nonzero()[0][-1] / RATE_HZ - 0.1


def test_scenes_of_near_to_far_are_a_room_and_a_hall() -> None:
    preset = preset_named("Near to Far")
    assert preset.scene_b["mix"] > 2 * preset.values["mix"]
    assert t30_s("Near to Far") < 0.8
    assert t30_s("Near to Far", **preset.scene_b) > 3


def test_wandering_goes_between_a_room_and_a_hall_and_steps_back_while_played() -> None:
    values = VALUES | preset_named("Wandering").values
    walk, level = (Modulator(number) for number in MODULATORS)
    assert (walk.target(values), level.target(values)) == ("x", "mix")
    control = find("x")
    ends = [
        to_value(control, to_position(control, values["x"]) + side * values["mod1_depth"] / 100)
        for side in (-1, 1)
    ]
    assert t30_s("Wandering", x=ends[0]) < 0.8 and t30_s("Wandering", x=ends[1]) > 3
    assert level.shift(values, 1.0, 0.01) < 0 == level.shift(values, 0.0, 0.01)
