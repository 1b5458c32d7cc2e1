"""The text of `nverb status`."""

from __future__ import annotations

import contextlib
import sys
from typing import TypedDict

from dsp.names import shown
from firmware_py.base.service import is_used, where_the_log_is
from firmware_py.jack.report import describe
from firmware_py.link.status import AudioStatus, PedalStatus, RoomStatus


class SlotStatus(TypedDict):
    """An installed bank or model."""

    kind: str
    reference: str
    in_use: bool
    plays: bool


class CompleteStatus(PedalStatus):
    """With what the asking process adds, see `complete`."""

    slots: list[SlotStatus]
    versions: dict[str, str]


def meter(db: float, width: int = 24) -> str:
    """A bar of `width` characters for -60..0 dBFS."""
    full = round(width * min(max((db + 60) / 60, 0), 1))
    return "#" * full + "." * (width - full)


def machine_line(status: PedalStatus) -> str:
    """Temperature and warnings, such as `54 °C, under-voltage now`; empty if there are none."""
    machine = status["machine"]
    words = [] if machine["temperature_c"] is None else [f"{machine['temperature_c']:.0f} °C"]
    return ", ".join(words + machine["warnings"])


def hands(status: PedalStatus) -> list[str]:
    """Lines on the sources of control changes: presets, the board, MIDI and OSC."""
    lines = [f"preset   {status['preset'].removeprefix('preset ')}"] if status["preset"] else []
    board = status["board"]
    if board is not None:
        state = "" if board["faults"] else ", no fault"
        if board["simulated"] and is_used():
            state = ", simulated, no pot is read: `nverb settings set profile=NAME`"
        lines.append(f"knobs    {board['profile']}{state}")
        for group in board["fault_groups"]:
            effect = f" ({group['effect']})" if group["effect"] else ""
            lines.append(f"         FAULT {group['parts']}: {group['reason']}{effect}")
            lines += [f"               -> {group['remedy']}"] if group["remedy"] else []
        for name, distance in board["apart"].items():
            way = "right" if distance > 0 else "left"
            lines.append(
                f"         knob {name}: turn it {abs(distance):.0%} to the {way} to take over"
            )
    lines += [f"FAULT    {name}: {why}" for name, why in status["off"].items()]
    return lines + [f"door     {text}" for text in status["doors"]]


def _added(audio: AudioStatus) -> str:
    """The latency that JACK's block size adds."""
    frames = audio["added_frames"]
    return f" (adds {1000 * frames / audio['rate_hz']:.2f} ms)" if frames else ""


def ports(status: PedalStatus) -> list[str]:
    """Lines on JACK's ports: which feed which side, and faults."""
    found = status["ports"]
    inputs, outputs = ([", ".join(each) for each in found[side]] for side in ("inputs", "outputs"))
    lines = []
    if text := _input_text(inputs, found["automatic"], found["feed"]):
        lines.append(f"inputs   {text}")
    targets = ", ".join(port for port in outputs if port)
    if found["mono"]:
        lines.append(f"outputs  the mean of both sides{' to ' + targets if targets else ''}")
    elif targets:
        lines.append(f"outputs  {targets}")
    return lines + [f"         FAULT {text}" for text in found["faults"]]


def _input_text(inputs: list[str], automatic: bool, feed: int) -> str:
    """`feed`: see `ReportedPorts`."""
    names = [name or f"input {number}" for number, name in enumerate(inputs, 1)]
    if len(names) == 1 or (len(names) == 2 and names[0] == names[1]):
        return f"{names[0]} feeds both sides"
    names = names or ["input 1", "input 2"]
    if feed:
        return f"{names[feed - 1]} feeds both sides until {names[2 - feed]} has sound"
    if automatic:
        return f"{names[0]} left, {names[1]} right; one alone feeds both sides"
    return f"{names[0]} left, {names[1]} right" if any(inputs) else ""


def has_card(status: PedalStatus) -> bool:
    """Whether a sound card sets the time. JACK's dummy driver is late when the machine is busy,
    and loses no sound by it."""
    jack = status.get("jack")
    return not (jack and jack["server"] == "jackd" and not jack["capture"] + jack["playback"])


def complete(status: PedalStatus) -> CompleteStatus:
    """Add to a status from the socket what this process can find out itself.

    `slots`: the installed banks and models, most recently used first; `versions`: of the pedal and
    its main packages.
    """
    from dsp.errors import UserError
    from firmware_py.base.paths import data_dir
    from firmware_py.base.version import version_of
    from firmware_py.state.store import Store

    versions = {"nverb": status["version"], "python": sys.version.split()[0]}
    for name in ("numpy", "pyo", "ai-edge-litert", "tflite-runtime"):
        if number := version_of(name):
            versions[name] = number
    slots: list[SlotStatus] = []
    with contextlib.suppress(UserError, OSError):
        store = Store(data_dir())
        state = store.current()
        slots = [
            {
                "kind": slot.kind,
                "reference": slot.reference,
                "in_use": slot in state.slots.values(),
                "plays": slot == state.playing,
            }
            for slot in store.slots()
        ]
    return {**status, "slots": slots, "versions": versions}


def rooms_title(room: RoomStatus) -> str:
    """Name of the slot that plays, followed by the bank's own name if that differs."""
    name, slot = room["bank"], room["path"]
    slot = slot.partition("@")[0] if "@" in slot and "/" not in slot else ""
    return f"{slot} ({name})" if slot and slot != name else name


def sound_lines(status: PedalStatus) -> list[str]:
    """Lines on the audio process and JACK. Nothing of an audio process that does not play."""
    audio = status["audio"]
    lines: list[str] = []
    if audio is None:
        lines.append(f"audio    not running, no sound: {where_the_log_is()} says why")
    elif not audio["alive"]:
        lines.append(f"audio    NOT PLAYING (no block for 0.5 s): {where_the_log_is()} says why")
    if jack := status.get("jack"):
        lines.append(f"jack     {describe(jack)}")
    if audio is not None and audio["alive"]:
        lines += [
            f"audio    playing, {audio['block_frames']} frames at {audio['rate_hz']} Hz"
            f"{_added(audio)}, process {audio['pid']}",
            f"load     {100 * audio['load']:.1f} % mean, {100 * audio['worst_load']:.1f} % worst "
            "since the last status",
            f"late     {audio['late_blocks']} of {audio['blocks']} blocks"
            + ("" if has_card(status) else ": nothing is lost without a sound card"),
        ]
        for name, levels in (("input", audio["input_db"]), ("output", audio["output_db"])):
            for side, db in zip("LR", levels, strict=True):
                lines.append(f"{name + ' ' + side:8} {meter(db)} {db:6.1f} dBFS")
        if audio["limited_samples"] or audio["nonfinite_samples"] or audio["offset_blocks"]:
            lines.append(
                f"guard    {audio['limited_samples']} samples limited, "
                f"{audio['nonfinite_samples']} not finite, "
                f"{audio['offset_blocks']} blocks with a DC offset"
            )
    return lines


def measuring_lines(status: PedalStatus) -> list[str]:
    """Lines on the measurement that runs, or on the last one; none if there was none."""
    measuring = status.get("measuring")
    if not measuring or measuring["state"] == "none":
        return []
    words = {"running": "measuring", "done": "measured", "failed": "not measured"}
    return [
        f"{words[measuring['state']]}: {measuring['text']}",
        *(f"! {remark}" for remark in measuring["remarks"]),
    ]


def screen(status: CompleteStatus) -> str:
    """The text of `nverb status`. `status`: from `complete`."""
    from device import controls

    room = status["room"]
    lines = [f"nverb {status['version']}, kernel for {status['simd']}"]
    if status["safe_start"]:
        lines.append(
            f"SAFE     {status['safe_start']}; "
            "plays built-in rooms until you choose a bank or preset"
        )
    if status["controls"].get("bypass"):
        lines.append("BYPASS   on, the input passes unprocessed: `nverb set bypass=off`")
    lines += sound_lines(status)
    lines += ports(status)
    lines.append(
        f"room     bank {rooms_title(room)}, made in {room['made_in_ms']:.1f} ms"
        + (", true stereo" if room["true_stereo"] else "")
        + (f"; {room['fault']}" if room["fault"] else "")
    )
    lines += measuring_lines(status)
    if machine_line(status):
        lines.append(f"board    {machine_line(status)}")
    lines.append(
        f"control  process {status['control']['pid']}, up {status['control']['up_s']:.0f} s"
    )
    installed = [
        f"{slot['kind']} {slot['reference']}{' (plays)' if slot['plays'] else ''}"
        for slot in status["slots"]
    ]
    if installed:
        lines.append(f"slots    {', '.join(installed)}")
    lines.append(
        f"versions {', '.join(f'{name} {number}' for name, number in status['versions'].items())}"
    )
    lines += hands(status)
    values = [
        f"{c.name} {controls.format(c, status['controls'][c.name])}" for c in controls.CONTROLS
    ]
    column = max(len(v) for v in values) + 2
    lines += [
        "".join(v.ljust(column) for v in values[i : i + 4]).rstrip()
        for i in range(0, len(values), 4)
    ]
    return "\n".join(map(shown, lines))
