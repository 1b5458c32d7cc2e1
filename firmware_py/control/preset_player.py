"""Plays presets: by name, by number, the next one, the startup preset."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Protocol

from dsp.errors import UserError, reason
from firmware_py.base.log import logger
from firmware_py.state.preset_file import Preset, PresetError
from firmware_py.state.presets import Presets

log = logger("control")


class PresetTarget(Protocol):
    """What a preset changes."""

    @property
    def bank(self) -> str: ...

    def play_scenes(self, preset: Preset) -> None: ...

    def use_scenes(self, preset: Preset) -> None: ...

    def kept(self) -> tuple[dict[str, float], dict[str, float]]: ...

    def use_bank(self, reference: str) -> None: ...

    def use_residual(self, residual: str) -> None: ...


class PresetPlayer:
    """Plays the presets in the running pedal. Control process."""

    def __init__(self, presets: Presets, pedal: PresetTarget) -> None:
        self._presets, self._pedal = presets, pedal
        self.current: str | None = None
        """The name of the last preset played, or None."""
        self._played: Preset | None = None
        self._passed_over: dict[str, str] = {}  # why, as logged, by name

    @property
    def changed(self) -> bool:
        """Whether a control has moved since the preset was played, or a scene is another.

        Morphing changes nothing of a preset.
        """
        if self.current is None or self._played is None:
            return False
        a, b = self._pedal.kept()
        played = self._played.complete()
        moved = any(a[name] != value for name, value in played.items() if name != "morph")
        return moved or b != self._played.scene_b

    def describe(self) -> str:
        """The current preset for `nverb status`; "" if there is none."""
        if self.current is None:
            return ""
        return f"preset {self.current}" + (" (changed)" if self.changed else "")

    def play(self, preset: Preset) -> None:
        """Play a preset. If its bank is unreadable: ValueError or OSError, and no change."""
        log.debug("preset %s, bank %s", preset.name, preset.bank or "of nverb")
        if preset.bank != self._pedal.bank:
            self._pedal.use_bank(preset.bank)
        self._pedal.use_residual(preset.residual)
        self._passed_over.pop(preset.name, None)
        self._pedal.play_scenes(preset)
        self.current, self._played = preset.name, preset

    def resume(self, name: str | None) -> None:
        """Make this preset the current one without setting its values: it was just saved, or the
        previous control process played it."""
        with contextlib.suppress(UserError, OSError):
            if name is not None:
                preset = self._presets.load(name)
                self.current, self._played = preset.name, preset

    def play_startup(self) -> bool:
        """Play the startup preset. False if there is none. Raises what `play` raises."""
        preset = self._presets.startup
        if preset is not None:
            self.play(preset)
        return preset is not None

    def step(self, by: int) -> str:
        """Play the next (1) or previous (-1) preset, cyclically, and return its name.

        A preset whose bank cannot be opened is passed over and logged once, until it plays. Raises
        PresetError if none can be played.
        """
        failures: dict[str, Exception] = {}  # by bank, so that each is tried once
        for preset in self._presets.following(self.current, by):
            if preset.bank not in failures:
                try:
                    self.play(preset)
                    return preset.name
                except (UserError, ValueError, OSError) as error:
                    failures[preset.bank] = error
            self._pass_over(preset, reason(failures[preset.bank]))
        if failures:
            why = reason(next(iter(failures.values())))
            raise PresetError(f"the bank of no preset can be opened; the first: {why}")
        raise PresetError(
            "there are no presets: `nverb preset save NAME` saves the present settings"
        )

    def skip(self, by: int) -> None:
        """Play the preset that `by` steps reach, without playing those between.

        Raises PresetError if none can be played.
        """
        following = self._presets.following(self.current, 1 if by > 0 else -1)
        passed = (abs(by) - 1) % len(following) if following else 0
        before = self.current
        if passed:
            self.current = following[passed - 1].name
        try:
            self.step(1 if by > 0 else -1)
        except PresetError:
            self.current = before
            raise

    def _pass_over(self, preset: Preset, why: str) -> None:
        if self._passed_over.get(preset.name) != why:
            self._passed_over[preset.name] = why
            log.warning("preset %r is passed over until its bank is back: %s", preset.name, why)

    def play_name(self, name: str) -> None:
        """Play a preset by name. Raises PresetError with the nearest name, or as `play`."""
        self.play(self._presets.load(name))

    def play_number(self, number: int) -> str:
        """Play the preset at this position, from 0, and return its name. Raises PresetError."""
        preset = self._presets.at(number)
        if preset is None:
            raise PresetError(
                f"no preset has program number {number + 1}: `nverb preset list` shows the presets"
            )
        self.play(preset)
        return preset.name

    def answer(self, request: Mapping[str, object]) -> str:
        """Handle a "preset" request (see firmware_py.link.client); the name of the current preset.

        Raises PresetError, ValueError or OSError; nothing changes then.
        """
        if "load" in request:
            self.play_name(str(request["load"]))
        elif "step" in request:
            step = request["step"]
            if not isinstance(step, int) or step not in (1, -1):
                raise PresetError('"step" must be 1 or -1')
            self.step(step)
        elif "kept" in request:  # the command wrote the file, so a slow card does not delay knobs
            self.resume(str(request["kept"]))
            if self._played is not None:
                self._pedal.use_scenes(self._played)
        else:
            raise PresetError('a "preset" request needs "load", "step" or "kept"')
        return self.current or ""
