"""The scenes A and B of what plays, and the control `morph` between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from device.controls import find
from device.scenes import MORPHED, between
from dsp.errors import UserError
from firmware_py.state.session import KeptScenes

NO_SCENE_B = (
    "morph does nothing: what plays has no scene B; turn knobs, then `nverb scene b` stores it"
)
LOWEST, HIGHEST = find("morph").minimum, find("morph").maximum
MIDDLE = (LOWEST + HIGHEST) / 2


class SceneError(UserError):
    """There is no such scene yet."""


class _Glide(NamedTuple):
    """A way of `morph`, at one speed."""

    start: float
    end: float
    begun: float
    seconds: float

    def at(self, now: float) -> float:
        past = now - self.begun
        if past >= self.seconds:
            return self.end
        return self.start + (self.end - self.start) * max(past, 0.0) / self.seconds


class Scenes:
    """Between the scenes `morph` moves the controls that differ.

    A control that a hand moves meanwhile stays where it is until `morph` moves again.
    """

    def __init__(self) -> None:
        self._a: dict[str, float] | None = None
        self._b: dict[str, float] | None = None
        self._by_hand: set[str] = set()
        self._glide: _Glide | None = None
        self._glided: float | None = None  # where the glide has put `morph`

    def use(self, a: Mapping[str, float], b: Mapping[str, float]) -> None:
        """Use the scenes of a preset. a: values of all controls. b: where B differs from it."""
        self._a = {name: a[name] for name in MORPHED}
        self._b = self._a | dict(b) if b else None
        self._stop()

    def clear(self) -> None:
        """There are no scenes."""
        self._a = self._b = None
        self._stop()

    def keep(self) -> KeptScenes:
        """The scenes for the session."""
        return KeptScenes(self._a, self._b)

    def resume(self, kept: KeptScenes) -> None:
        """Use the scenes of a session."""
        self._a, self._b = (
            {name: scene[name] for name in MORPHED} if scene is not None else None for scene in kept
        )
        self._stop()

    def store(self, scene: str, values: Mapping[str, float]) -> float:
        """Make what plays the scene "a" or "b". Returns the value of `morph` that belongs to it.

        Raises SceneError for a scene B without an A.
        """
        if scene not in ("a", "b"):
            raise SceneError(f"no scene {scene[:40]!r}: there are a and b")
        now = {name: values[name] for name in MORPHED}
        if scene == "a":
            self._a = now
        elif self._a is None:
            raise SceneError(
                "there is no scene A yet: play a preset, or `nverb scene a` stores what plays"
            )
        else:
            self._b = now
        self._stop()
        return LOWEST if scene == "a" else HIGHEST

    def forget(self) -> None:
        """There is no scene B."""
        self._b = None
        self._stop()

    def ends(self) -> dict[str, tuple[float, float]]:
        """The values in A and B of the controls that differ."""
        if self._a is None or self._b is None:
            return {}
        return {
            name: (self._a[name], self._b[name])
            for name in MORPHED
            if self._a[name] != self._b[name]
        }

    def follow(self, moved: Mapping[str, float]) -> dict[str, float]:
        """Controls have moved, by a hand or a glide. Returns where others go: those of `morph`."""
        if "morph" not in moved:
            self._by_hand |= moved.keys()
            return {}
        if moved["morph"] != self._glided:
            self._glide = None
        self._by_hand = set(moved)
        return self.at(moved["morph"])

    def at(self, morph: float) -> dict[str, float]:
        """Where the controls are that `morph` moves, but those that a hand has moved since."""
        return {
            name: between(find(name), a, b, morph / HIGHEST)
            for name, (a, b) in self.ends().items()
            if name not in self._by_hand
        }

    def kept(self, values: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        """The values that a preset keeps: of A, and where it differs, of B.

        What a hand has moved since `morph` moved belongs to the nearer scene.
        """
        ends = self.ends()
        a, b = ({name: pair[side] for name, pair in ends.items()} for side in (0, 1))
        nearer = b if values["morph"] >= MIDDLE else a
        nearer |= {name: values[name] for name in ends.keys() & self._by_hand}
        rest = {} if ends else {"morph": LOWEST}
        return {**values, **a, **rest}, {name: b[name] for name in b if b[name] != a[name]}

    def toggle(self, morph: float, glide_s: float, now: float) -> None:
        """Glide to the other scene; during a glide, back. Raises SceneError without a scene B."""
        if not self.ends():
            raise SceneError(NO_SCENE_B)
        towards = self._glide.end if self._glide else morph
        end = LOWEST if towards >= MIDDLE else HIGHEST
        seconds = glide_s * abs(end - morph) / (HIGHEST - LOWEST)
        self._glide = _Glide(morph, end, now, seconds)

    def glide(self, now: float) -> float | None:
        """Where `morph` is now on its glide; None if it glides nowhere."""
        if self._glide is None:
            return None
        self._glided = self._glide.at(now)
        if self._glided == self._glide.end:
            self._glide = None
        return self._glided

    def _stop(self) -> None:
        self._by_hand, self._glide, self._glided = set(), None, None
