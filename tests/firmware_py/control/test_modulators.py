"""Modulators move what plays around the values that hands have set."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from rig import Rig

from device.controls import defaults, find, to_position, to_value
from device.events import Change
from dsp._engine import Port
from firmware_py.control import report
from firmware_py.link import mailbox
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.modulators import STEP_S, Modulators
from firmware_py.rooms.scenes import Scenes
from firmware_py.rooms.source import BuiltInRooms
from firmware_py.state.presets import Presets

SILENCE = SimpleNamespace(meters=lambda: SimpleNamespace(input_peak=(0.0, 0.0)))


def values_of(**texts: float | str) -> dict[str, float]:
    """Defaults, and these."""
    return defaults() | {
        name: float(find(name).choices.index(text)) if isinstance(text, str) else text
        for name, text in texts.items()
    }


class Run:
    """Modulators, the seconds since their begin, and how often they moved something."""

    def __init__(self, scenes: Scenes | None = None, port: object = SILENCE) -> None:
        self._scenes, self._port = scenes or Scenes(), port
        self.modulators = Modulators()
        self._now = 1000.0

    def go(self, values: dict[str, float], seconds: float) -> dict[str, float]:
        for _ in range(round(seconds / STEP_S) + 1):
            self._now += STEP_S * 1.0001
            self.modulators.step(values, self._scenes, self._port, self._now)
        return self.modulators.moved


def test_off_nothing_is_moved_and_no_meter_is_read() -> None:
    assert Run(port=None).go(defaults() | {"mod1_depth": 100.0}, 1) == {}


@pytest.mark.parametrize(
    ("values", "seconds", "travel"),
    [
        ({"mod1_source": "sine", "mod1_rate_hz": 0.1}, 2.5, 0.2),  # a quarter of a period
        ({"mod1_source": "sine", "mod1_rate_hz": 0.1, "mod1_depth": -50.0}, 2.5, -0.5),
        ({"mod1_source": "triangle", "mod1_rate_hz": 0.1}, 1.25, 0.1),
        ({"mod1_source": "triangle", "mod1_sync": "1/2", "tempo": 30.0}, 1.0, 0.2),
        ({"mod1_source": "triangle", "mod1_sync": "1/4d", "tempo": 90.0}, 0.25, 0.2),
        ({"mod1_source": "expression", "expression": 75.0, "mod1_depth": 40.0}, 1, 0.3),
        ({"mod1_source": "wheel", "wheel": 50.0, "mod1_offset": -10.0}, 1, 0.0),
        ({"mod1_source": "input", "mod1_offset": 15.0}, 1, 0.15),  # silence
    ],
)
@pytest.mark.parametrize("target", ["mix", "lowpass_hz", "predelay"])
def test_target_goes_by_offset_and_depth_along_its_travel(
    target: str, values: dict[str, float | str], seconds: float, travel: float
) -> None:
    control = find(target)
    middle = to_value(control, 0.5)
    moved = Run().go(values_of(mod1_target=target, **{target: middle}, **values), seconds)
    assert set(moved) == {target}
    assert to_position(control, moved[target]) - 0.5 == pytest.approx(travel, abs=0.01)


def test_input_opens_its_target() -> None:
    level = SimpleNamespace(meters=lambda: SimpleNamespace(input_peak=(0.0, 10 ** (-30 / 20))))
    values = values_of(mod1_source="input", mod1_target="mix", mod1_depth=60.0, mix=10.0)
    assert Run(port=level).go(values, 1)["mix"] == pytest.approx(10 + 60 * 0.5, abs=0.1)


def test_both_on_one_target_add_up_and_stay_within_the_range() -> None:
    both = {"mod1_source": "expression", "mod2_source": "wheel", "mod1_target": "x"}
    values = values_of(**both, mod2_target="x", x=3.0, expression=100.0, wheel=50.0)
    assert Run().go(values, 1)["x"] == pytest.approx(3 + 9 * (0.2 + 0.1))
    assert Run().go(values | {"mod1_depth": 100.0}, 1)["x"] == 9
    assert Run().go(values | {"mod1_depth": -100.0}, 1)["x"] == 0


def test_modulated_morph_moves_the_scenes_and_another_modulator_what_they_move() -> None:
    scenes, a = Scenes(), defaults() | {"x": 2.0, "mix": 20.0}
    scenes.use(a, {"x": 8.0, "mix": 80.0})
    values = values_of(
        mod1_source="expression", mod1_target="morph", mod1_depth=100.0, expression=50.0
    ) | {"x": 2.0, "mix": 20.0}
    assert Run(scenes).go(values, 1) == pytest.approx({"morph": 50, "x": 5, "mix": 50})
    more = values_of(mod2_source="wheel", mod2_target="mix", mod2_depth=10.0, wheel=100.0)
    values |= {name: more[name] for name in ("mod2_source", "mod2_target", "mod2_depth", "wheel")}
    assert Run(scenes).go(values, 1) == pytest.approx({"morph": 50, "x": 5, "mix": 60})
    scenes.follow({"x": 3.0})  # a hand
    assert Run(scenes).go(values, 1) == pytest.approx({"morph": 50, "mix": 60})


def port_of(rig: Rig) -> Port:
    port = mailbox.create(block_frames=128, rate_hz=48000, max_taps=24000, inputs=2)
    rig.pedal.mailbox.refresh()
    return port


def play(rig: Rig, seconds: float, port: Port) -> list[float]:
    """The mix of the engine, at each turn of the loop."""
    heard = []
    for _ in range(round(seconds / rig.board.scan_s)):
        rig.scan_for(rig.board.scan_s)
        rig.pedal.work()
        params = port.params()
        assert params is not None
        heard.append(100 * params["mix"])
    return heard


def test_knob_moves_the_middle_and_off_plays_what_is_set(rig: Rig) -> None:
    port = port_of(rig)
    settings = {"mod1_source": "sine", "mod1_target": "mix", "mod1_rate_hz": 2, "mod1_depth": 10}
    rig.ask({"do": "set", "values": settings})
    play(rig, 0.5, port)
    heard = play(rig, 1, port)  # two periods
    assert (min(heard), max(heard)) == pytest.approx((25, 45), abs=0.5)
    steps = [abs(b - a) for a, b in pairwise(heard)]
    assert max(steps) < 1.1 * 10 * 2 * math.pi * 2 * 2 * STEP_S
    assert rig.values["mix"] == 35 and "mix" in report.status(rig.pedal)["modulated"]
    rig.pedal.change({"mix": 60.0})
    heard = play(rig, 1, port)
    assert (min(heard), max(heard)) == pytest.approx((50, 70), abs=0.5)
    rig.send(Change("mod1_source", 0.0))
    assert play(rig, 0.1, port) == pytest.approx([60.0] * 20)
    assert report.status(rig.pedal)["modulated"] == {}


def test_rooms_follow_ten_times_a_second_and_return_when_it_is_off(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, feed = port_of(rig), rig.pedal.rooms
    made: list[float] = []

    def publish(_: object, values: dict[str, float], now: float) -> None:
        made.append(values["x"])
        feed.stale, feed.drifts, feed.published_at = False, False, now

    with monkeypatch.context() as patch:
        patch.setattr(feed, "_publish", publish)
        feed.made_in_ms = 1
        rig.ask({"do": "set", "values": {"mod1_source": "sine", "mod1_rate_hz": 1}})
        play(rig, 2, port)
        assert 18 <= len(made) <= 22
        assert min(made) < 3.3 and max(made) > 5.7
    feed.published_at = 0  # nothing plays here: do not wait for a crossfade
    rig.ask({"do": "set", "values": {"mod1_source": "off"}})
    rig.pedal.work()
    assert port.newest_room() == RoomMaker(BuiltInRooms(), 48000, 24000).fingerprint(defaults())


def test_presets_keep_modulators_and_older_ones_play_without(rig: Rig, folders: Path) -> None:
    presets = Presets(folders)
    presets.save("old", {"x": 3.0})
    presets.save("moving", values_of(mod2_source="walk", mod2_target="tilt", mod2_depth=7.0))
    rig.ask({"do": "preset", "load": "moving"})
    rig.ask({"do": "set", "values": {"expression": 40}})
    assert rig.pedal.presets.describe() == "preset moving"  # a pedal changes no preset
    assert rig.values["mod2_depth"] == 7
    rig.ask({"do": "preset", "load": "old"})
    assert rig.values["mod2_source"] == 0
