"""Which MIDI controller (CC) moves which control, and the assignments that were learnt."""

from __future__ import annotations

import contextlib
import difflib
import json
from pathlib import Path
from typing import TypeGuard

from device.controls import CONTROLS, find
from device.profile import ACTIONS
from dsp.errors import InvalidValue, reason
from firmware_py.base.paths import write_atomically
from models.reading import json_table, read_file

MAX_BYTES = 65_536


HIGHEST_CC = 119
"""120 and above are channel mode messages: all sound off, all notes off."""


class MidiMap:
    """The CCs of the table of controls, and the learnt ones. Every change is saved at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "midi.json"
        self.channel: int | None = None
        """1..16, or None for all."""
        self._learnt: dict[str, int | None] = {}
        self.complaint = ""
        """A line for the log if the file is invalid. The CCs of the table are then active."""
        try:
            self._read()
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.channel, self._learnt = None, {}
            why = reason(error) if isinstance(error, OSError) else f"{self.path}: is damaged"
            self.complaint = f"{why}; the default MIDI controllers are active: learn yours again"

    def _read(self) -> None:
        table = json_table(read_file(self.path, MAX_BYTES), str(self.path))
        channel = table["channel"]
        if not _is_channel(channel):
            raise ValueError
        for name, cc in table["cc"].items():
            if cc is not None and not _is_cc(cc):
                raise ValueError
            with contextlib.suppress(ValueError):  # a control of another version of the pedal
                self._learnt[target(name)] = cc
        self.channel = channel

    def _save(self) -> None:
        data = json.dumps(
            {"version": 1, "channel": self.channel, "cc": self._learnt}, indent=1
        ).encode()
        write_atomically(self.path, lambda file: file.write(data))

    def ccs(self) -> dict[str, int]:
        """The CCs of the controls and actions that have one."""
        table: dict[str, int | None] = {control.name: control.cc for control in CONTROLS}
        return {name: cc for name, cc in (table | self._learnt).items() if cc is not None}

    def by_cc(self) -> dict[int, str]:
        return {cc: name for name, cc in self.ccs().items()}

    def assign(self, name: str, cc: object) -> list[str]:
        """Assign a CC, 0..119, to a control or action. Returns the names that lose it.

        Raises InvalidValue or OSError.
        """
        name = target(name)
        if not _is_cc(cc):
            raise InvalidValue(f"controller {repr(cc)[:40]}: write a number from 0 to {HIGHEST_CC}")
        previous = [other for other, its in self.ccs().items() if its == cc and other != name]
        for other in previous:
            self._learnt[other] = None
        self._learnt[name] = cc
        self._save()
        return previous

    def forget(self, name: str | None) -> None:
        """Return to the CC of the table, for one control or (None) for all.

        If another control has learnt that CC it keeps it. Raises InvalidValue or OSError.
        """
        if name is None:
            self._learnt.clear()
        else:
            name = target(name)
            self._learnt.pop(name, None)
            default = self.ccs().get(name)
            if sum(cc == default for cc in self.ccs().values()) > 1 and default is not None:
                self._learnt[name] = None
        self._save()

    def set_channel(self, channel: object) -> None:
        """Listen to a channel, 1..16, or to all (None). Raises InvalidValue or OSError."""
        if not _is_channel(channel):
            raise InvalidValue(f"MIDI channel {repr(channel)[:40]}: write 1 to 16, or all")
        self.channel = channel
        self._save()


def _is_cc(cc: object) -> TypeGuard[int]:
    return type(cc) is int and 0 <= cc <= HIGHEST_CC


def _is_channel(channel: object) -> TypeGuard[int | None]:
    return channel is None or (type(channel) is int and 1 <= channel <= 16)


def target(name: str) -> str:
    """The name of a control, or of an action of a footswitch.

    Raises InvalidValue with the nearest name.
    """
    words = " ".join(name.lower().split())
    if words in ACTIONS:
        return words
    try:
        return find(name).name
    except InvalidValue:
        near = difflib.get_close_matches(words[:64], ACTIONS, n=1)
        if not near:
            raise
    raise InvalidValue(f"no control {name[:64]!r}: did you mean {near[0]!r}?")
