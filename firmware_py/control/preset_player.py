"""Plays presets: by name, by number, the next, the startup one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

from dsp.errors import UserError
from firmware_py.state.presets import Preset, PresetError, Presets


class Pedal(Protocol):
    """What the player of presets needs of the control process."""

    values: dict[str, float]
    bank: str

    def set(self, values: dict[str, float]) -> None: ...

    def use_bank(self, reference: str) -> None: ...


class PresetPlayer:
    """The presets as the running pedal plays them: which one is on, and the ways to another. Control process."""

    def __init__(self, presets: Presets, pedal: Pedal) -> None:
        self._presets, self._pedal = presets, pedal
        self.current: str | None = None
        """The name of the preset that was played last."""
        self._played: dict[str, float] = {}

    @property
    def changed(self) -> bool:
        """Whether a control has been moved since the preset was played."""
        return self.current is not None and any(
            self._pedal.values[name] != v for name, v in self._played.items()
        )

    def describe(self) -> str:
        """For `nverb status`: the preset that is on, "" if none is."""
        return (
            ""
            if self.current is None
            else f"preset {self.current}" + (" (changed)" if self.changed else "")
        )

    def play(self, preset: Preset) -> None:
        """Bank first: if it cannot be read nothing is changed. Raises ValueError (a bad bank), OSError."""
        if preset.bank != self._pedal.bank:
            self._pedal.use_bank(preset.bank)
        self._pedal.set(dict(preset.values))
        self.current, self._played = preset.name, dict(preset.values)

    def resume(self, name: str | None) -> None:
        """This preset is on already (it was just kept, or a control process before us played it): nothing is set."""
        with contextlib.suppress(UserError, OSError):
            if name is not None:
                preset = self._presets.load(name)
                self.current, self._played = preset.name, dict(preset.values)

    def play_startup(self) -> bool:
        """The preset for after power-on; False if there is none. Raises as `play`."""
        preset = self._presets.startup
        if preset is not None:
            self.play(preset)
        return preset is not None

    def step(self, by: int) -> str:
        """The next (1) or previous (-1) one, round and round; its name. Raises PresetError if none is kept."""
        preset = self._presets.step(self.current, by)
        if preset is None:
            raise PresetError("no preset is kept: `nverb preset save NAME` keeps what plays now")
        self.play(preset)
        return preset.name

    def play_name(self, name: str) -> None:
        """Raises PresetError naming the nearest."""
        self.play(self._presets.load(name))

    def play_number(self, number: int) -> str:
        """The one at this place, from 0. Raises PresetError."""
        preset = self._presets.at(number)
        if preset is None:
            raise PresetError(
                f"no preset has the program number {number + 1}: `nverb preset list` shows those there are"
            )
        self.play(preset)
        return preset.name

    def answer(self, request: Mapping[str, Any]) -> str:
        """The socket's requests "load", "step", "kept" (see firmware_py.link.client); the name of the preset that is on now."""
        if "load" in request:
            self.play_name(str(request["load"]))
        elif "step" in request:
            if request["step"] not in (1, -1):
                raise PresetError('"step" is 1 or -1')
            self.step(request["step"])
        elif (
            "kept" in request
        ):  # the command has written it itself: a slow card may not hold the knobs up
            self.resume(str(request["kept"]))
        else:
            raise PresetError('a request about presets has "load", "step" or "kept"')
        return self.current or ""
