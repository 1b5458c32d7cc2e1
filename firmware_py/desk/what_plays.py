"""What the pedal plays, for commands that render without it: its controls and its rooms."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from device.controls import at_rest, defaults
from dsp.errors import UserError
from firmware_py.base.paths import data_dir

if TYPE_CHECKING:
    from firmware_py.rooms.scenes import Scenes
    from firmware_py.state.presets import Presets


class Playing(NamedTuple):
    """values: of all controls. bank: a reference, see `rooms_named`. whose: in words. residual: of
    an encoded room, or "". scene_a, scene_b: values of the scenes; no scene_b: there is none."""

    values: dict[str, float]
    bank: str
    whose: str
    residual: str = ""
    scene_a: Mapping[str, float] = MappingProxyType({})
    scene_b: Mapping[str, float] = MappingProxyType({})

    def scenes(self) -> Scenes:
        """The scenes. What is not where `morph` has put it, a hand has moved."""
        from firmware_py.rooms.scenes import Scenes

        scenes = Scenes()
        scenes.use(self.values | dict(self.scene_a), self.scene_b)
        morphed = scenes.at(self.values["morph"])
        by_hand = {name for name, value in morphed.items() if self.values[name] != value}
        scenes.follow({name: self.values[name] for name in by_hand})
        return scenes


def of_pedal() -> Playing:
    """As the running pedal plays, but not in bypass; if none runs, as the next one starts.

    A pedal or presets that this user may not see count as none.
    """
    from firmware_py.link.client import ask
    from firmware_py.state.store import Store

    try:
        status = ask({"do": "status"})["status"]
        values = defaults() | status["controls"] | at_rest()
        room = status["room"]
        scenes = status.get("scenes") or {"a": {}, "b": {}}
        return Playing(
            values,
            room["path"],
            "as the running pedal plays",
            str(room.get("residual", "")),
            scenes["a"],
            scenes["b"],
        )
    except UserError:
        pass
    try:
        if startup := _presets().startup:
            return of_preset(startup.name)
        slot = Store(data_dir()).current().playing
    except (UserError, OSError):
        return built_in()
    if slot is None:
        return built_in()
    return Playing(defaults(), slot.reference, f"default controls, {slot.kind} {slot.reference}")


def of_preset(name: str) -> Playing:
    """Raises PresetError."""
    preset = _presets().load(name)
    values = defaults() | preset.playing()
    whose = f"preset {preset.name}"
    scene_a = preset.complete()
    return Playing(values, preset.bank, whose, preset.residual, scene_a, preset.scene_b)


def _presets() -> Presets:
    from firmware_py.state.factory_presets import factory_presets
    from firmware_py.state.presets import Presets

    return Presets(data_dir(), factory=factory_presets())


def built_in() -> Playing:
    return Playing(defaults(), "", "default controls, the rooms of nverb")
