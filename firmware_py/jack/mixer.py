"""The mixer of a sound card: read it, set it, keep it in the state folder, restore it.

A card forgets its mixer at power-off. Debian keeps it in /var/lib/alsa, which a read-only system
forgets, too: so the pedal keeps it. `restore` runs before JACK opens a card, that is at each
start and when the card comes back. `amixer` and `alsactl` of alsa-utils do the work.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from dsp.errors import UserError, reason
from firmware_py.base.log import logger
from firmware_py.base.paths import data_dir, data_path, write_atomically
from firmware_py.jack import cards
from firmware_py.jack.cards import Card
from firmware_py.jack.mixer_controls import MixerControl, Value, parse
from firmware_py.jack.starting_points import starting_point
from firmware_py.state import card_name
from firmware_py.state.store import make_folder

log = logger("jack")
SBIN = ":/usr/sbin:/sbin"
"""Where alsactl is; not in every user's PATH."""
TOOL_S = 5.0
"""Timeout of amixer and alsactl: a codec whose bus hangs must not keep JACK from starting."""
UDEV_QUEUE = Path("/run/udev/queue")
"""Exists while udev handles events. It runs `alsactl restore` for each card that appears."""
UDEV_S = 1.0
"""Longest wait for udev: at boot it may be busy with other devices."""
UNMUTED_DB = -20.0
"""For a volume that is at its bottom, on a card without a starting point: what alsactl sets."""
OUTPUTS = (
    *("Master", "PCM", "Headphone", "Speaker", "Front", "Line Out", "Lineout", "Digital", "DAC"),
    *("HP", "Output", "Output Mixer HiFi", "Output Mixer DAC"),
)
"""Sources of the switches and volumes that lead to the output. "Mic Playback Switch" and its like
pass the input past the pedal: they stay as they are."""
INPUTS = ("", "Line", "Line In", "Input", "ADC", "Mic", "Front Mic")
"""Sources of capture switches, in the order of choice."""


def find(name: str) -> Card | None:
    """The card that `name` means: "USB", "hw:USB,0", "hw:CARD=USB,DEV=0", "hw:1"; None if gone."""
    parsed = card_name.parse(name, bare=True)
    return cards.find(parsed) if parsed else None


def controls(identifier: str) -> list[MixerControl]:
    """The controls of a card; empty if it has no mixer. Raises UserError."""
    return parse(_run("amixer", "-c", identifier, "contents").stdout)


def set_controls(identifier: str, values: Mapping[str, Value], found: list[MixerControl]) -> str:
    """Set the controls of these names that the card has, in one step, and check them.

    Returns what could not be set, for the log; "" if all is well. Raises UserError.
    """
    wanted = [(c, c.raw(values[c.name])) for c in found if c.name in values and c.writable]
    wanted = [(c, raw) for c, raw in wanted if set(c.values) != {raw}]
    if not wanted:
        return ""
    lines = "".join(f"cset numid={c.numid} {_word(c, raw)}\n" for c, raw in wanted)
    _run("amixer", "-q", "-c", identifier, "-s", stdin=lines)
    now = {c.numid: c.values for c in controls(identifier)}
    failed = [c.name for c, raw in wanted if set(now.get(c.numid, ())) != {raw}]
    return f"cannot set {', '.join(failed)}" if failed else ""


def _word(control: MixerControl, raw: int) -> str:
    return ("on" if raw else "off") if control.kind == "BOOLEAN" else f"{raw}"


def state_file(identifier: str) -> Path:
    """Where the card's mixer is kept."""
    return data_path() / "mixers" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', identifier)}.state"


def save(identifier: str) -> Path:
    """Keep the card's mixer as it is now. Raises UserError, OSError."""
    data_dir()  # made if it is missing
    file = state_file(identifier)
    state = _run("alsactl", "-f", "-", "store", identifier).stdout
    if "control." not in state:
        raise UserError(f"{identifier} has no mixer: there is nothing to keep")
    make_folder(file.parent)
    write_atomically(file, lambda opened: opened.write(state.encode()))
    return file


def forget(identifier: str) -> bool:
    """Keep the card's mixer no longer; False if it was not kept. Raises UserError, OSError."""
    file = state_file(identifier)
    kept = file.exists()
    file.unlink(missing_ok=True)
    return kept


def restore(*names: str) -> None:
    """Set the mixers of these cards (named as for `find`). Never raises."""
    for card in dict.fromkeys(filter(None, map(find, names))):
        try:
            done, trouble = set_up(card)
            if trouble:
                log.warning("mixer of %s: %s", card.identifier, trouble)
            if done:
                log.info("mixer of %s: %s", card.identifier, done)
        except (UserError, OSError) as error:
            log.warning("mixer of %s: left as it is: %s", card.identifier, error)


def set_up(card: Card) -> tuple[str, str]:
    """The kept mixer, else the starting point, else what is muted is opened.

    Returns what was done and what could not be done. Raises UserError, OSError.
    """
    _wait_for_udev()
    kept = state_file(card.identifier)
    try:
        misfit = _restored(card, kept) if kept.exists() else ""
        if kept.exists() and not misfit:
            return "restored", ""
    except OSError as error:  # the disk fails, or the folder is another user's
        misfit = reason(error)
    found = controls(card.identifier)
    point = starting_point(card.identifier, card.title)
    values = point.values if point else unmuted(found)
    trouble = set_controls(card.identifier, values, found)
    if misfit:  # another driver has other controls, or the file is damaged
        _restored(card, kept)
        trouble = f"what is kept does not fit ({misfit}): set it, then `nverb card save`"
    if not values:
        return "", trouble
    return f"starting point for {point.title}" if point else f"opened {', '.join(values)}", trouble


def _restored(card: Card, file: Path) -> str:
    """Restore what of a kept mixer fits; why not all of it did, "" if all is well."""
    # -I: not alsactl's own defaults where a control does not fit.
    words = ("-I", "-U", "-f", os.fspath(file), "restore", card.identifier)
    done = _run("alsactl", *words, check=False)
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return _plain(lines[-1]) if done.returncode else ""


def unmuted(found: Iterable[MixerControl]) -> dict[str, Value]:
    """What opens the path through a card: values for its muted switches and volumes."""
    values: dict[str, Value] = {}
    inputs = []
    for control in found:
        source, way, function = _parts(control.name)
        if not control.writable or not (way == "Capture" or source in OUTPUTS):
            continue
        if function == "Switch" and control.kind == "BOOLEAN":
            if way == "Capture":
                inputs.append(control)
            elif not any(control.values):
                values[control.name] = True
        elif function == "Volume" and set(control.values) == {control.low}:
            db = 0.0 if way == "Capture" else UNMUTED_DB
            middle = (control.low + 3 * control.high) // 4
            values[control.name] = control.at_db(db) if control.has_db else middle
    if inputs and not any(any(control.values) for control in inputs):
        values[min(inputs, key=_input_rank).name] = True
    return values


def _input_rank(control: MixerControl) -> int:
    """Order of choice among inputs that are all off: a card with several mixes or selects them."""
    source = _parts(control.name)[0]
    return INPUTS.index(source) if source in INPUTS else len(INPUTS)


def _parts(name: str) -> tuple[str, str, str]:
    """Source, direction ("Playback", "Capture" or "") and function of a control's name."""
    found = re.fullmatch(r"(.*?) ?(Playback|Capture)? ?(Switch|Volume|)", name)
    return (found[1], found[2] or "", found[3]) if found else (name, "", "")


def direction(control: MixerControl) -> str:
    """ "input", "output" or "" (neither, or not told by the name)."""
    source, way, _ = _parts(control.name)
    if way:
        return "input" if way == "Capture" else "output"
    words = set(re.split(r"[^A-Za-z]+", source)) - {""}
    if words & {"Capture", "ADC", "Mic", "Aux", "PGA", "Mixin", "Input"} and "DAC" not in words:
        return "input"
    if words & {"Playback", "DAC", "Headphone", "Speaker", "Lineout", "Mixout", "Master", "Output"}:
        return "output"
    return ""


def gains(card: Card, found: Iterable[MixerControl]) -> list[MixerControl]:
    """The controls that set the level of the input, in decibels or in steps."""
    point = starting_point(card.identifier, card.title)
    if point and point.gains:
        return [c for c in found if c.name in point.gains and c.writable]
    return [
        c
        for c in found
        if c.writable and c.kind == "INTEGER" and _parts(c.name)[1:] == ("Capture", "Volume")
    ]


def _wait_for_udev() -> None:
    """Wait for udev's own `alsactl restore`, which would overwrite ours."""
    deadline = time.monotonic() + UDEV_S
    while UDEV_QUEUE.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def _run(
    tool: str, *words: str, stdin: str = "", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a tool of alsa-utils. Raises UserError if it is missing, hangs, or fails with `check`."""
    path = shutil.which(tool, path=os.environ.get("PATH", "") + SBIN)
    if path is None:
        raise UserError(f"{tool} is missing: sudo apt-get install alsa-utils")
    try:
        done = subprocess.run(
            [path, *words],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_S,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{tool} did not answer within {TOOL_S:g} s") from None
    if check and done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(f"{tool}: {_plain(lines[-1])}")
    return done


def _plain(line: str) -> str:
    """A tool's message without the tool's name."""
    return re.sub(r"^(amixer|alsactl): ", "", line)
