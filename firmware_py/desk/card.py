"""What `nverb card` shows of a sound card's mixer, and its guide to the right input level."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dsp.errors import UserError
from firmware_py.jack import mixer
from firmware_py.jack.cards import Card
from firmware_py.jack.mixer_controls import MixerControl, Value
from firmware_py.jack.starting_points import starting_point

LISTEN_S = 6.0
"""How long the guide listens before it judges."""
POLL_S = 0.1
CLIPPED_DB = -0.5
HOT_DB, QUIET_DB = -3.0, -18.0
"""The loudest peak may be between these: a guitar's strongest stroke is that of the day."""
TARGET_DB = -9.0
SILENCE_DB = -60.0
CLIPPED_STEP_DB = 6.0
"""How far the gain goes down when the input clips: by how much it does cannot be measured."""
TRIES = 6

Verdict = Literal["silent", "too quiet", "right", "too hot"]


def text(card: Card, found: Sequence[MixerControl], kept: str) -> str:
    """The text of `nverb card show`. `kept`: where and when the mixer was kept, "" if never."""
    point = starting_point(card.identifier, card.title)
    lines = [f"{card.identifier}: {card.title}"]
    if point:
        lines += [f"known as {point.title}: {point.note}", f"         {point.source}"]
    if not found:
        return "\n".join([*lines, "no mixer: set the level with the card's own knobs"])
    groups = {"input": "input (capture)", "output": "output (playback)", "": "other"}
    for side, title in groups.items():
        rows = [c for c in found if mixer.direction(c) == side]
        if rows:
            lines += ["", title, *map(_row, rows)]
    levels = ", ".join(c.name for c in mixer.gains(card, found))
    lines += [
        "",
        f"input level: {levels} (`nverb card level` sets it)"
        if levels
        else "input level: no control of this card sets it",
        f"kept:        {kept or 'no: `nverb card save` keeps these settings'}",
    ]
    for name, value in mixer.unmuted(found).items():
        control = next(c for c in found if c.name == name)
        lines.append(f"MUTED:       {name} is {control.words()}: {_remedy(card, control, value)}")
    return "\n".join(lines)


def facts(card: Card, found: Sequence[MixerControl], kept: str) -> dict[str, object]:
    """The same for programs."""
    point = starting_point(card.identifier, card.title)
    muted = mixer.unmuted(found)
    return {
        "card": card.identifier,
        "title": card.title,
        "known_as": point.title if point else None,
        "kept": kept or None,
        "input_level": [control.name for control in mixer.gains(card, found)],
        "controls": [
            {
                "name": control.name,
                "direction": mixer.direction(control) or None,
                "kind": control.kind.lower(),
                "values": [
                    control.items[value] if value < len(control.items) else value
                    for value in control.values
                ],
                "decibels": [control.db(value) for value in control.values],
                "minimum": control.low,
                "maximum": control.high,
                "items": list(control.items),
                "writable": control.writable,
                "muted": control.name in muted,
            }
            for control in found
        ],
    }


def _row(control: MixerControl) -> str:
    choice = f"   of {', '.join(control.items)}" if 1 < len(control.items) <= 5 else ""
    return f"  {control.name:40} {control.words()}{choice}"


def _remedy(card: Card, control: MixerControl, value: Value) -> str:
    word = "on" if value is True else f"{value}"
    return f"amixer -c {card.identifier} cset numid={control.numid} {word}"


@dataclass(frozen=True)
class Level:
    """What was heard: the loudest peak of all inputs in dBFS."""

    peak_db: float

    @property
    def verdict(self) -> Verdict:
        if self.peak_db < SILENCE_DB:
            return "silent"
        if self.peak_db > HOT_DB:
            return "too hot"
        return "too quiet" if self.peak_db < QUIET_DB else "right"

    @property
    def change_db(self) -> float:
        """By how much the gain should change."""
        if self.peak_db > CLIPPED_DB:
            return -CLIPPED_STEP_DB
        return TARGET_DB - self.peak_db


def listen(peaks: Callable[[], Sequence[float]], show: Callable[[float, float], None]) -> Level:
    """Listen for LISTEN_S from the first sound on, and for three times that before it.

    peaks: the inputs' peaks in dBFS since the last call. show: is given the peak now and the
    loudest.
    """
    begun = time.monotonic()
    peaks()  # forget what was before
    loudest = -120.0
    first: float | None = None
    while True:
        time.sleep(POLL_S)
        now = max(peaks(), default=-120.0)
        loudest = max(loudest, now)
        if first is None and now >= SILENCE_DB:
            first = time.monotonic()
        show(now, loudest)
        if time.monotonic() - (first or begun) > (LISTEN_S if first else 3 * LISTEN_S):
            return Level(loudest)


def changed(
    card: Card, controls: Sequence[MixerControl], change_db: float
) -> tuple[dict[str, Value], str]:
    """Values for a gain that is changed by about `change_db`, and what changes, in words.

    Empty if no control can go further. A card that does not tell its decibels is set in steps of a
    tenth of its range.
    """
    values: dict[str, Value] = {}
    words = []
    for control in controls:
        before = control.values[0]
        if control.has_db and (db := control.db(before)) is not None:
            after = control.at_db(db + change_db)
        else:
            step = max((control.high - control.low) // 10, 1)
            after = control.raw(before + (step if change_db > 0 else -step))
        if after != before:
            values[control.name] = after
            shown = MixerControl(**{**control.__dict__, "values": (after,)})
            words.append(f"{control.name} {control.words()} -> {shown.words()}")
    return values, "; ".join(words)


def guide(
    card: Card,
    peaks: Callable[[], Sequence[float]],
    say: Callable[[str], None],
    show: Callable[[float, float], None],
) -> bool:
    """Listen and set the input gain until the level is right; True if it is. Raises UserError."""
    for left in reversed(range(TRIES)):
        level = listen(peaks, show)
        what = level.verdict
        say(f"{what}: loudest peak {level.peak_db:.1f} dBFS")
        if what == "right":
            return True
        if what == "silent":
            raise UserError(
                "nothing was heard: is the guitar plugged in, its volume up, the right input in "
                "use? `nverb card show` lists the card's inputs"
            )
        found = mixer.controls(card.identifier)
        values, words = changed(card, mixer.gains(card, found), level.change_db)
        louder = level.change_db > 0
        if not values:
            say(_by_hand(card, found, louder))
            return False
        trouble = mixer.set_controls(card.identifier, values, found)
        say(words if not trouble else f"{words}: {trouble}")
        if left:
            say("once more: play as loud as you will")
    return False


def _by_hand(card: Card, found: Sequence[MixerControl], louder: bool) -> str:
    what = "up" if louder else "down"
    if mixer.gains(card, found):
        return f"the card's input gain cannot go further {what}: turn the guitar {what}"
    return f"this card has no input gain that software sets: turn {what} its knob, or the guitar"
