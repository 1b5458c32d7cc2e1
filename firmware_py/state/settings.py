"""The settings file, `settings.toml` in the data folder: what a builder sets once.

    version = 1
    profile = "pi-mcp3008"
    card = "hw:sndrpihifiberry"
    block_frames = 64

| key               | value                                                        | default  |
|-------------------|--------------------------------------------------------------|----------|
| version           | of this table; any other version is rejected                 | required |
| profile           | the board: name of a profile                                 | "sim"    |
| card              | "auto" (one that plays and records), "dummy" (none),         | "auto"   |
|                   | or ALSA's name, "hw:..." (see state/card_name.py)            |          |
| capture_card      | another card for the input: "hw:...", or "same"              | "same"   |
| playback_card     | another card for the output: the same                        | "same"   |
| block_frames      | JACK's period in frames, 16..4096                            | 128      |
| rate_hz           | sampling rate, 8000..192000                                  | 48000    |
| periods           | JACK's periods in the buffer of the card, 2..8               | 2        |
| capture_channels  | channels of the card that JACK opens, 0..32; 0: all          | 0        |
| playback_channels | the same                                                     | 0        |
| inputs            | "auto", "stereo", "mono", or one or two of the card's ports   | "auto"   |
|                   | by number or name, see firmware_py.base.port_names           |          |
| outputs           | the same                                                     | "auto"   |
| true_stereo       | "auto" (for two sources, where there is memory for it),      | "auto"   |
|                   | "on" or "off": see docs/sound.md                             |          |
| max_ir_s          | longest room in seconds, 0.1..10                             | 6.0      |
| midi              | "auto" (ALSA if it has a sequencer), "alsa", "jack" or "off" | "auto"   |
| osc               | "off", or the UDP port for OSC: "9000", "0.0.0.0:9000"       | "off"    |
| log_level         | the log's lowest level: "debug", "info" or "warning"         | "info"   |

One invalid value rejects the complete file. JACK, the audio process and the control process read
the file when they start; a service with an invalid file logs that and plays with the defaults.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsp.errors import UserError, did_you_mean, reason
from firmware_py.base.limits import BLOCK_SIZES, RATES_HZ
from firmware_py.base.paths import data_dir, write_atomically
from firmware_py.base.port_names import ports_of
from firmware_py.state import card_name
from models.reading import MalformedFile, read_file, toml_table

VERSION = 1
CARDS = {"card": ("auto", "dummy"), "capture_card": ("same",), "playback_card": ("same",)}
"""The settings that name a sound card, and what else they may be."""
_MAX_BYTES = 65_536
_PORTS = ("inputs", "outputs")
TRUE_STEREO = ("auto", "on", "off")
_FORBIDDEN = "\"'\\\n\r\t\0"


@dataclass(frozen=True)
class Settings:
    """The settings, see the table of this module."""

    profile: str = "sim"
    card: str = "auto"
    capture_card: str = "same"
    playback_card: str = "same"
    block_frames: int = 128
    rate_hz: int = 48000
    periods: int = 2
    capture_channels: int = 0
    playback_channels: int = 0
    inputs: str = "auto"
    outputs: str = "auto"
    true_stereo: str = "auto"
    max_ir_s: float = 6.0
    midi: str = "auto"
    osc: str = "off"
    log_level: str = "info"


HELP = {
    "profile": "the board: a profile's name, see `nverb board list`",
    "card": '"auto", "dummy" (no sound card) or ALSA\'s name such as "hw:USB", see `aplay -l`',
    "capture_card": 'another card for the input, such as "hw:USB", or "same"',
    "playback_card": 'another card for the output, such as "hw:USB", or "same"',
    "block_frames": "JACK's period in frames, 16 to 4096; multiples of 16 add no latency",
    "rate_hz": "sampling rate, 8000 to 192000",
    "periods": "JACK's periods in the card's buffer, 2 to 8",
    "capture_channels": "capture channels that JACK opens, 0 to 32; 0: all",
    "playback_channels": "playback channels that JACK opens, 0 to 32; 0: all",
    "inputs": '"auto", "stereo", "mono", or one or two ports: "2", "3,4", "CLIENT:PORT"',
    "outputs": '"auto", "stereo", "mono" (the mean of both sides), or one or two ports: "3,4"',
    "true_stereo": '"auto" (two sources in a decoded room), "on" or "off"',
    "max_ir_s": "longest room in seconds, 0.1 to 10",
    "midi": '"auto" (ALSA if it has a sequencer), "alsa", "jack" or "off"',
    "osc": '"off" or [ADDRESS:]PORT; without ADDRESS this machine only',
    "log_level": '"debug", "info" or "warning": the lowest level of the lines in the log',
}
_RANGES = {
    "block_frames": (BLOCK_SIZES[0], BLOCK_SIZES[-1]),
    "rate_hz": (RATES_HZ[0], RATES_HZ[-1]),
    "periods": (2, 8),
    "capture_channels": (0, 32),
    "playback_channels": (0, 32),
    "max_ir_s": (0.1, 10),
}


def path() -> Path:
    """The settings file in the data folder."""
    return data_dir() / "settings.toml"


def checked(values: Mapping[str, object], where: str) -> Settings:
    """Settings from values by name. Raises UserError naming `where`, the key and the remedy."""
    known = [field.name for field in dataclasses.fields(Settings)]
    accepted: dict[str, str | float] = {}
    for name, given in values.items():
        if name not in known:
            hint = did_you_mean(name, known, cutoff=0.4)
            raise UserError(f"{where}: unknown key {name!r}: {hint}")
        default = getattr(Settings, name)
        value = _ports_of_number(given) if name in _PORTS and type(given) is int else given
        types: tuple[type, ...] = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, str | int | float) or type(value) not in types:
            kind = {str: "text", int: "a whole number", float: "a number"}[type(default)]
            raise UserError(f"{where}: {name} = {value!r}: must be {kind} ({HELP[name]})")
        if not (_is_text(name, value) if isinstance(value, str) else _is_number(name, value)):
            raise UserError(f"{where}: {name} = {value!r}: {HELP[name]}")
        card = card_name.parse(value) if name in CARDS and isinstance(value, str) else None
        accepted[name] = (
            str(card) if card else float(value) if isinstance(default, float) else value
        )
    return dataclasses.replace(Settings(), **accepted)  # type: ignore[arg-type]


def _ports_of_number(number: int) -> str:
    """A whole number in the file is a port, but 2 was the count of both inputs in nverb 0.1.0."""
    return "auto" if number == 2 else str(number)


def _is_number(name: str, value: float) -> bool:
    """True if the number is in the range of the key `name`."""
    low, high = _RANGES[name]
    return low <= value <= high


def _is_text(name: str, value: str) -> bool:
    """True if the text is a value of the key `name`."""
    if not 0 < len(value) <= 200 or any(c in value for c in _FORBIDDEN):
        return False
    if name in CARDS:
        return value in CARDS[name] or card_name.parse(value) is not None
    if name in _PORTS:
        return _is_ports(value)
    if name == "midi":
        return value in ("auto", "alsa", "jack", "off")
    if name == "true_stereo":
        return value in TRUE_STEREO
    if name == "log_level":
        return value in ("debug", "info", "warning")
    if name == "osc":
        return value == "off" or value.rpartition(":")[2].isdecimal()
    return True


def _is_ports(value: str) -> bool:
    try:
        ports_of(value)
        return True
    except ValueError:
        return False


def read(file: Path) -> Settings:
    """The settings of a file; the defaults if it does not exist.

    Raises UserError if any value is invalid, OSError.
    """
    try:
        table = toml_table(read_file(file, _MAX_BYTES), str(file))
    except FileNotFoundError:
        return Settings()
    except MalformedFile as error:
        raise UserError(f"{error}; correct it, or use `nverb settings reset`") from None
    version = table.pop("version", None)
    if type(version) is not int:
        raise UserError(f"{file}: version is missing: start the file with version = {VERSION}")
    if version != VERSION:
        what = (
            "newer than this nverb: update nverb"
            if version > VERSION
            else "older than any released version"
        )
        raise UserError(
            f"{file}: version {version} is {what}, "
            "or restore the defaults with `nverb settings reset`"
        )
    return checked(table, os.fspath(file))


def load() -> Settings:
    """The settings in use. Raises UserError, OSError."""
    return read(path())


def load_for_service() -> tuple[Settings, str]:
    """The settings in use and ""; for an invalid file the defaults and the error.

    Called by the services, which must play whatever the file holds.
    """
    try:
        return load(), ""
    except (UserError, OSError) as error:
        return Settings(), f"{reason(error)}; playing with the default settings"


def write(settings: Settings) -> None:
    """Write the settings that differ from the defaults, atomically and durably. Raises OSError."""
    lines = [
        "# Settings of the pedal: `nverb settings` shows them all, "
        "`nverb settings set NAME=VALUE` changes them.",
        f"version = {VERSION}",
    ]
    for name, value in dataclasses.asdict(settings).items():
        if value != getattr(Settings, name):
            lines.append(f"{name} = " + (f'"{value}"' if isinstance(value, str) else f"{value}"))
    data = ("\n".join(lines) + "\n").encode()
    write_atomically(path(), lambda file: file.write(data))


def parse(words: list[str]) -> dict[str, object]:
    """Values by name from `["card=hw:USB", "block_frames=64"]`. Raises UserError."""
    values: dict[str, object] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals:
            raise UserError(f"{word!r}: write NAME=VALUE, such as card=hw:USB")
        kind = type(getattr(Settings, name, ""))
        try:
            values[name] = (
                int(text) if kind is int else float(text) if kind is float else text.strip()
            )
        except ValueError:
            raise UserError(f"{name}={text}: {HELP[name]}") from None
    return values
