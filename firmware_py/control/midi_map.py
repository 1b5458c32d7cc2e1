"""Which MIDI controller moves which control, and what was learnt."""

from __future__ import annotations

import contextlib
import difflib
import json
from pathlib import Path

from device.controls import CONTROLS, find
from device.profile import ACTIONS
from firmware_py.base.paths import write_atomically

MAX_BYTES = 65_536


HIGHEST_CC = 119
"""From 120 on they are channel mode messages: all sound off, all notes off."""


class MidiMap:
    """Which CC belongs to what: the table's, and what was learnt. Every change is kept at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "midi.json"
        self.channel: int | None = None
        """1..16, or None for all."""
        self._learnt: dict[str, int | None] = {}
        self.complaint = ""
        """A line for the log if the file made no sense; the table's CCs hold then."""
        try:
            self._read()
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.channel, self._learnt = None, {}
            reason = str(error) if isinstance(error, OSError) else "makes no sense"
            self.complaint = (
                f"{self.path}: {reason}: the usual MIDI controllers hold; learn yours again"
            )

    def _read(self) -> None:
        with open(self.path, "rb") as file:
            table = json.loads(file.read(MAX_BYTES))
        channel = table["channel"]
        if channel is not None and (type(channel) is not int or not 1 <= channel <= 16):
            raise ValueError
        for name, cc in table["cc"].items():
            if cc is not None and (type(cc) is not int or not 0 <= cc <= HIGHEST_CC):
                raise ValueError
            with contextlib.suppress(ValueError):  # a control of another version of the pedal
                self._learnt[target(name)] = cc
        self.channel = channel

    def _keep(self) -> None:
        data = json.dumps(
            {"version": 1, "channel": self.channel, "cc": self._learnt}, indent=1
        ).encode()
        write_atomically(self.path, lambda file: file.write(data))

    def ccs(self) -> dict[str, int]:
        """All that have one."""
        table: dict[str, int | None] = {control.name: control.cc for control in CONTROLS}
        return {name: cc for name, cc in (table | self._learnt).items() if cc is not None}

    def by_cc(self) -> dict[int, str]:
        return {cc: name for name, cc in self.ccs().items()}

    def assign(self, name: str, cc: int) -> list[str]:
        """Gives this CC to a control or action; whom it was taken from. Raises ValueError."""
        name = target(name)
        if type(cc) is not int or not 0 <= cc <= HIGHEST_CC:
            raise ValueError(f"controller {cc}: they go from 0 to {HIGHEST_CC}")
        robbed = [other for other, its in self.ccs().items() if its == cc and other != name]
        for other in robbed:
            self._learnt[other] = None
        self._learnt[name] = cc
        self._keep()
        return robbed

    def forget(self, name: str | None) -> None:
        """Back to the table's CC, for one or (None) for all. A CC that somebody else has learnt stays there. Raises ValueError."""
        if name is None:
            self._learnt.clear()
        else:
            name = target(name)
            self._learnt.pop(name, None)
            usual = self.ccs().get(name)
            if sum(cc == usual for cc in self.ccs().values()) > 1 and usual is not None:
                self._learnt[name] = None
        self._keep()

    def set_channel(self, channel: int | None) -> None:
        """Raises ValueError."""
        if channel is not None and (type(channel) is not int or not 1 <= channel <= 16):
            raise ValueError(f"MIDI channel {channel}: 1 to 16, or all")
        self.channel = channel
        self._keep()


def target(name: str) -> str:
    """The name of a control, or of an action of a footswitch. Raises ValueError naming the nearest."""
    words = " ".join(name.lower().split())
    if words in ACTIONS:
        return words
    try:
        return find(name).name
    except ValueError as error:
        near = difflib.get_close_matches(words[:64], ACTIONS, n=1)
        raise ValueError(
            f"no control {name[:64]!r}: did you mean {near[0]!r}?" if near else str(error)
        ) from None
