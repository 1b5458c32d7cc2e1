"""The session: what the next control process needs to continue.

After a crash it continues exactly. If the pedal was stopped in order, its next start plays the
startup preset, or what was left but without FOR_THE_FOOT: nobody expects an old bypass. After
power-off there is no session. docs/hands.md has the table.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from device.controls import check, defaults, find
from dsp.errors import reason
from firmware_py.base.log import logger
from firmware_py.base.paths import runtime_dir, write_atomically
from models.reading import json_table, open_regular, read_file


def _session_path() -> Path:
    return runtime_dir() / "session.json"


class KeptScenes(NamedTuple):
    """The scenes A and B of what plays: values of the controls that may differ; None: none."""

    a: dict[str, float] | None = None
    b: dict[str, float] | None = None


class Session(NamedTuple):
    """What the next control process needs to continue. In memory only; presets are permanent."""

    values: dict[str, float]
    sounding: dict[str, float]
    """The values of the room that sounds; they differ from `values` while the room is locked."""
    bank: str | None = None
    generation: int | None = None
    """Generation of the store; rooms that are installed later override `bank`."""
    preset: str | None = None
    resumed: bool = True
    """False: no session was found, because the pedal has just been switched on."""
    ended: bool = False
    """The control process was stopped in order: it did not die."""
    residual: str = ""
    """Of the encoded room that plays, see models.residual."""
    scenes: KeptScenes = KeptScenes()

    @property
    def is_start(self) -> bool:
        """Whether the pedal starts, and does not continue after a crash."""
        return self.ended or not self.resumed


def save_session(session: Session) -> None:
    """Write the session to the runtime folder. Raises OSError, also if the old one cannot be read:
    it is not ours to replace then."""
    data, path = json.dumps(session._asdict()).encode(), _session_path()
    with contextlib.suppress(FileNotFoundError):
        os.close(open_regular(path, follow=False))
    write_atomically(path, lambda file: file.write(data), durable=False)


def load_session(generation: int | None) -> Session:
    """The session of the last control process; defaults for values that are missing or invalid.

    The bank is None if the store is at another generation now.
    """
    try:
        path = _session_path()
        data = json_table(read_file(path, 65536, follow=False), str(path))
        values, sounding = _valid_values(data["values"]), _valid_values(data.get("sounding", {}))
        bank, preset, residual = data["bank"], data.get("preset"), data.get("residual")
        return Session(
            values,
            sounding,
            bank if isinstance(bank, str) and data["generation"] == generation else None,
            generation,
            preset if isinstance(preset, str) else None,
            ended=data.get("ended") is True,
            residual=residual if isinstance(residual, str) else "",
            scenes=KeptScenes(
                *(None if each is None else _valid_values(each) for each in data.get("scenes", ()))
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if not isinstance(error, FileNotFoundError):
            logger("control").warning("the session is lost: %s", reason(error))
        return Session(defaults(), defaults(), resumed=False)


def forget_session() -> None:
    """The next control process starts as after power-on. Raises OSError."""
    _session_path().unlink(missing_ok=True)


def _valid_values(table: dict[str, str | float]) -> dict[str, float]:
    """The defaults, replaced by the valid values of the table."""
    values = defaults()
    for name, value in table.items():
        try:
            values[name] = check(find(name), float(value))
        except (ValueError, TypeError):
            continue
    return values
