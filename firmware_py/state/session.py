"""The session: what a restarted control process needs to go on as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from device.controls import check, defaults, find
from firmware_py.base.paths import runtime_dir, write_atomically


def _session_path() -> Path:
    return runtime_dir() / "session.json"


class Session(NamedTuple):
    """What a restarted control process needs to go on as before. In memory only: presets are what lasts."""

    values: dict[str, float]
    sounding: dict[str, float]
    """Those of the room that sounds: others than `values` while the room is frozen."""
    bank: str | None = None
    generation: int | None = None
    """Of the store: rooms that were installed since then go before `bank`."""
    preset: str | None = None
    resumed: bool = True
    """False: there was no session, the pedal has just been switched on."""


def save_session(session: Session) -> None:
    data = json.dumps(session._asdict()).encode()
    write_atomically(_session_path(), lambda file: file.write(data), durable=False)


def load_session(generation: int | None) -> Session:
    """What the last control process left, with defaults for what is missing or makes no sense; no bank (None) if the store is at
    another generation now."""
    try:
        data = json.loads(_session_path().read_bytes()[:65536])
        values, sounding = _sane(data["values"]), _sane(data.get("sounding", {}))
        bank, preset = data["bank"], data.get("preset")
        return Session(
            values,
            sounding,
            bank if isinstance(bank, str) and data["generation"] == generation else None,
            generation,
            preset if isinstance(preset, str) else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Session(defaults(), defaults(), resumed=False)


def _sane(table: dict[str, str | float]) -> dict[str, float]:
    values = defaults()
    for name, value in table.items():
        try:
            values[name] = check(find(name), float(value))
        except (ValueError, TypeError):
            continue
    return values
