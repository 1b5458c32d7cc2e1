"""Which MIDI sources do what: the controllers of the table of controls, and what was learnt.

midi.json in the data folder, written atomically:

    {"version": 2, "channel": null or 1..16, "listen": [], "out": null,
     "assignments": {"mix": {"source": "cc 20", "mode": "twos"}, "gain": null}}

It has the differences from the table; null: no source. The fields of an assignment are those of
firmware_py.control.midi_assignment.Assignment. listen, out: names of ports, see
firmware_py.control.midi_ports. Version 1 had numbers of controllers in "cc"; it is read, too.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from device.controls import CONTROLS, find, renamed
from device.profile import ACTIONS
from dsp.errors import InvalidValue, reason
from firmware_py.base.paths import write_atomically
from firmware_py.control.midi_assignment import Assignment, Source, make_assignment, parse_source
from models.reading import json_table, read_file

MAX_BYTES = 65_536
MOST_NAMES, LONGEST_NAME = 16, 100
"""Of names of ports: the line to the MIDI process stays shorter than PIPE_BUF."""

Table = dict[str, Assignment | None]


class MidiMap:
    """The assignments, the channel and the ports. Every change is saved at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "midi.json"
        self.channel: int | None = None
        """1..16, or None for all."""
        self.listen: list[str] = []
        """Listen only to ports with these names; []: to all."""
        self.out: list[str] | None = None
        """Send to ports with these names; []: to all; None: to none."""
        self._changed: Table = {}
        self._damaged = False
        self._unread = ""
        """Why the file cannot be read. The table of controls is then active."""
        self.complaint = ""
        """A line for the log if the file is damaged (the table of controls is then active) or has
        an old name."""
        self._load()

    def _load(self) -> None:
        try:
            self._parse(json_table(read_file(self.path, MAX_BYTES), str(self.path)))
        except FileNotFoundError:
            return
        except OSError as error:  # it may be readable later: what is in it must not be lost
            self._unread = reason(error)
        except (ValueError, KeyError, TypeError, AttributeError):
            self.channel, self.listen, self.out, self._changed = None, [], None, {}
            self._damaged = True
            self.complaint = (
                f"{self.path}: is damaged; the default MIDI controllers are active: learn yours "
                "again"
            )

    def _parse(self, table: Mapping[str, object]) -> None:
        channel, listen, out = table["channel"], table.get("listen", []), table.get("out")
        if not (_is_channel(channel) and _are_names(listen) and (out is None or _are_names(out))):
            raise ValueError
        assignments = table["cc"] if table.get("version") == 1 else table["assignments"]
        if not isinstance(assignments, dict):
            raise ValueError
        changed: Table = {}
        for name, value in assignments.items():
            try:
                known = target(name)
            except InvalidValue:  # a control of another version of the pedal
                continue
            changed[known] = _assignment(known, value)
        self.channel, self.listen, self.out, self._changed = channel, listen, out, changed
        if said := renamed(assignments):
            self.complaint = f"{self.path}: {said}"

    def _save(self, changed: Table | None = None, **fields: object) -> None:
        """Save with these changes, and make them active if that succeeds. Raises OSError."""
        table = self._changed if changed is None else changed
        data: dict[str, object] = {
            "version": 2,
            "channel": self.channel,
            "listen": self.listen,
            "out": self.out,
        } | fields
        data["assignments"] = {
            name: None if value is None else value.json() for name, value in table.items()
        }
        text = json.dumps(data, indent=1).encode()
        if self._damaged:
            os.replace(self.path, self.path.with_suffix(".damaged"))
            self._damaged = False
        write_atomically(self.path, lambda file: file.write(text))
        self._changed = table
        for name, value in fields.items():
            setattr(self, name, value)

    def read_again(self) -> bool:
        """If the file could not be read before, read it now; True if that succeeds. Raises OSError
        if it fails."""
        if not self._unread:
            return False
        self._unread = ""
        self._load()
        if self._unread:
            text = (
                f"{self._unread}; the default MIDI controllers are active, and none can be learnt: "
                "nothing is written to the file"
            )
            raise OSError(text)
        return True

    def assignments(self) -> dict[str, Assignment]:
        """The assignments of the controls and actions that have one."""
        table: Table = {
            control.name: Assignment(Source("cc", control.cc))
            for control in CONTROLS
            if control.cc is not None
        }
        return {name: value for name, value in (table | self._changed).items() if value is not None}

    def changes(self) -> Table:
        """What differs from the table of controls, to be put back with `restore`."""
        return dict(self._changed)

    def restore(self, changes: Table) -> None:
        """Put back what `changes` returned. Raises OSError."""
        self._save(changes)

    def assign(self, name: str, assignment: Assignment) -> list[str]:
        """Assign a source to a control or action. Returns the names that lose it.

        Raises OSError, or InvalidValue if no control has the name.
        """
        name = target(name)
        self.read_again()
        previous = [
            other
            for other, its in self.assignments().items()
            if its.source == assignment.source and other != name
        ]
        self._save(self._changed | dict.fromkeys(previous) | {name: assignment})
        return previous

    def forget(self, name: str | None) -> None:
        """Return to the controller of the table, for one control or (None) for all.

        If another control has learnt that controller it keeps it. Raises InvalidValue or OSError.
        """
        changed: Table = {}
        name = name if name is None else target(name)
        self.read_again()
        if name is not None:
            changed = {other: its for other, its in self._changed.items() if other != name}
            default = None if name in ACTIONS else find(name).cc
            taken = {its.source for its in changed.values() if its is not None}
            if default is not None and Source("cc", default) in taken:
                changed[name] = None
        self._save(changed)

    def set_channel(self, channel: object) -> None:
        """Listen to a channel, 1..16, or to all (None). Raises InvalidValue or OSError."""
        if not _is_channel(channel):
            raise InvalidValue(f"MIDI channel {repr(channel)[:40]}: write 1 to 16, or all")
        self.read_again()
        self._save(channel=channel)

    def set_ports(self, which: str, names: object) -> None:
        """Set the names of the ports to `listen` to or to send to (`out`).

        Raises InvalidValue or OSError.
        """
        if not (_are_names(names) or (which == "out" and names is None)):
            raise InvalidValue(
                f"MIDI ports {repr(names)[:40]}: write at most {MOST_NAMES} names of at most "
                f"{LONGEST_NAME} characters"
            )
        self.read_again()
        self._save(None, **{which: names})


def _assignment(name: str, value: object) -> Assignment | None:
    """From the file. Raises InvalidValue, or other errors if the value has the wrong form."""
    if value is None:
        return None
    if isinstance(value, dict):
        options = {key: its for key, its in value.items() if key != "source"}
        return make_assignment(name, parse_source(value["source"]), options)
    if type(value) is not int or value < 0:
        raise ValueError
    try:
        return make_assignment(name, parse_source(f"cc {value}"), {})
    except InvalidValue:
        raise ValueError from None


def _is_channel(channel: object) -> TypeGuard[int | None]:
    return channel is None or (type(channel) is int and 1 <= channel <= 16)


def _are_names(names: object) -> TypeGuard[list[str]]:
    return (
        isinstance(names, list)
        and len(names) <= MOST_NAMES
        and all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in names)
    )


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
