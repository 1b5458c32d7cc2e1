"""The checks of `nverb doctor`: functions without arguments that return a Result with a remedy."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from device import health
from device.boot_config import boot_file
from dsp.errors import UserError, reason
from dsp.names import shown
from firmware_py.base import boot, crashguard
from firmware_py.base.paths import SERVICE_DATA, data_dir, running_dir
from firmware_py.base.service import how_to_start, is_used, where_the_log_is
from firmware_py.link.status import JackStatus
from firmware_py.state import card_name
from firmware_py.state import settings as settings_file
from models.packages import how_to_install

WATCHED_S = 2.0
"""Late blocks are counted over this time."""


class Result(NamedTuple):
    """The result of a check.

    ok: no problem; hint: plays, but could be better; bad: does not play or soon will not; none:
    cannot be checked here.
    """

    name: str
    state: Literal["ok", "hint", "bad", "none"]
    found: str
    remedy: str = ""

    def line(self) -> str:
        text = f"{self.state:5} {self.name:12} {shown(self.found)}"
        return f"{text}\n      {'':12} -> {shown(self.remedy)}" if self.remedy else text


def settings_check() -> Result:
    try:
        settings = settings_file.load()
    except OSError as error:
        remedy = "check the disk, and the owner and mode of the file; until then the defaults apply"
        return Result("settings", "bad", reason(error), remedy)
    except UserError as error:
        remedy = "correct the file or run `nverb settings reset`; until then the defaults apply"
        return Result("settings", "bad", str(error), remedy)
    return Result(
        "settings",
        "ok",
        f"card {_cards(settings)}, {settings.block_frames} frames, board {settings.profile}",
    )


def _cards(settings: settings_file.Settings) -> str:
    others = [
        f"{getattr(settings, key)} for {way}"
        for key, way in (("capture_card", "input"), ("playback_card", "output"))
        if getattr(settings, key) != "same"
    ]
    return ", ".join([settings.card, *others])


def jack_check() -> Result:
    from firmware_py.jack.server import missing_tool
    from firmware_py.jack.squatted import REMEDY, taken_names

    if missing := missing_tool():
        return Result("jackd", "bad", f"{missing[0]} is not installed", missing[1])
    if taken := taken_names(os.environ.get("JACK_DEFAULT_SERVER")):
        return Result("jackd", "bad", taken, REMEDY)
    return Result("jackd", "ok", "installed")


def card_check() -> Result:
    """The card of the running pedal, else the one that the settings mean."""
    from firmware_py.jack import cards, pipewire, report
    from firmware_py.jack.reasons import remedy_for

    name = "sound card"
    settings = settings_file.load_for_service()[0]
    if running := report.read(running_dir()):
        return _running_card(name, running)
    if settings.card == "dummy":
        return Result(name, "ok", "none (card = dummy in the settings)")
    on_desktop = settings_file.path().parent != SERVICE_DATA and pipewire.is_running()
    if on_desktop and pipewire.library() is not None:
        return Result(name, "ok", "PipeWire has the cards; `nverb run` plays through it")
    try:
        choice = cards.choose(settings)
    except cards.NoCard as error:
        remedy = (
            "connect one" + (f", or enable its overlay in {file}" if (file := boot_file()) else "")
            if not cards.sound_cards()
            else "connect it, or choose another with `nverb settings set card=NAME`"
        )
        return Result(name, "bad", str(error), remedy)
    for way in cards.WAYS:
        if holder := cards.holder(choice.name(way), way):
            return Result(name, "hint", f"{choice}: {holder} uses it", remedy_for(holder))
    return Result(name, "ok", f"{choice}, not in use now")


def _running_card(name: str, running: JackStatus) -> Result:
    from firmware_py.jack import report

    if running["trouble"]:
        return Result(name, "bad", running["trouble"], "docs/debugging.md, No sound")
    text, on_desktop = report.describe(running), running["server"] == "PipeWire"
    if running["changed"] and on_desktop:
        remedy = (
            "choose a profile of the card in the desktop's sound settings and restart `nverb run`, "
            "or `nverb run --card NAME`"
        )
        return Result(name, "hint", text, remedy)
    if running["changed"]:
        can = " ".join(f"{key}={running[key]}" for key in ("block_frames", "rate_hz", "periods"))
        return Result(name, "hint", text, f"`nverb settings set {can}` keeps what it can")
    names = map(card_name.parse, (running["capture"], running["playback"]))
    if len({each.card for each in names if each}) > 1 and not on_desktop:
        why = "two cards have two clocks, so JACK restarts them now and then: a click"
        return Result(name, "hint", f"{text}; {why}", "docs/sound-cards.md, Two cards, two clocks")
    return Result(name, "ok", text)


def realtime_check() -> Result:
    """The limits of the current user; the services' limits are in their units."""
    priority = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    memory = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    enough = memory == resource.RLIM_INFINITY or memory >= 160 * 2**20
    if os.geteuid() == 0 or ((priority == resource.RLIM_INFINITY or priority >= 70) and enough):
        return Result("real time", "ok", "this user may use real-time priority and lock memory")
    return Result(
        "real time",
        "hint",
        "this user may not use real-time priority or lock memory (the service may)",
        "for `nverb run`: sudo dpkg-reconfigure -p high jackd2 (answer yes), "
        "sudo usermod -aG audio USER, log in again",
    )


def governor_check() -> Result:
    found = health.read()["governors"]
    if not found:
        return Result("processor", "none", "this machine has no clock governor")
    if found == ["performance"]:
        return Result("processor", "ok", "governor performance")
    return Result(
        "processor",
        "hint",
        f"governor {', '.join(found)}: blocks may be late when the load changes",
        "sudo systemctl enable --now cpu-governor-nverb (or `sudo make install`)",
    )


SPARE_MIB = 24
"""Memory that commands, ssh and the upload of a bank need in addition to the pedal."""


def memory_check(meminfo: Path = Path("/proc/meminfo")) -> Result:
    try:
        rows = (line.split() for line in meminfo.read_text().splitlines())
        mib = {row[0].rstrip(":"): int(row[1]) // 1024 for row in rows if len(row) > 1}
        total, spare, swap, unused = (
            mib[key] for key in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
        )
    except (OSError, ValueError, KeyError):
        return Result("memory", "none", "this machine does not report its memory")
    found = f"{spare} of {total} MiB available, {swap - unused} of {swap} MiB swap in use"
    if spare + unused < SPARE_MIB:
        return Result(
            "memory",
            "bad",
            f"{found}: the kernel will kill processes",
            "stop other programs; `nverb settings set max_ir_s=3 midi=off` reduces the pedal's "
            "memory; see docs/service.md, Memory",
        )
    return Result("memory", "ok", found)


def is_unmounted(folder: Path, fstab: Path = Path("/etc/fstab")) -> bool:
    """True if the folder is a mount point in fstab(5) and nothing is mounted there."""
    try:
        rows = [line.split() for line in fstab.read_text(errors="replace").splitlines()]
    except OSError:
        return False
    return any(len(row) > 1 and row[1] == str(folder) for row in rows) and not os.path.ismount(
        folder
    )


def state_check() -> Result:
    try:
        folder = data_dir()
        free = shutil.disk_usage(folder).free
    except (UserError, OSError) as error:
        return Result("state", "bad", str(error), "see docs/service.md, State")
    if is_unmounted(folder):
        return Result(
            "state",
            "bad",
            f"{folder}: its partition is not mounted: banks and presets on it are not available, "
            "new ones are lost at power-off",
            f"`systemctl status {str(folder)[1:].replace('/', '-')}.mount` shows the reason; "
            "`sudo fsck` repairs the partition, `nverb image` creates it again",
        )
    if not os.access(folder, os.W_OK):
        return Result(
            "state",
            "hint",
            f"{folder} is read-only: the pedal plays, but nothing new can be saved",
            "mount it writable",
        )
    if free < 64 * 2**20:
        return Result(
            "state",
            "hint",
            f"{folder}: {free / 1e6:.0f} MB free",
            "delete unused banks",
        )
    return Result("state", "ok", f"{folder}: {free / 1e9:.1f} GB free")


def safe_start_check() -> Result:
    why = crashguard.safe_start_reason(running_dir())
    if why:
        return Result(
            "start",
            "bad",
            f"the pedal started safe: {why}",
            "choose another bank (`nverb use NAME`) or restart the pedal; "
            "`journalctl -u 'nverb-*'` shows which process died",
        )
    return Result("start", "ok", "no crash loop since power-on")


def pedal_check() -> Result:
    """The running pedal, as its control process reports it."""
    from firmware_py.desk.screen import has_card
    from firmware_py.link.client import ask, awaited_status

    try:
        status = awaited_status()
    except UserError as error:
        return Result("pedal", "hint", str(error))
    audio = status["audio"]
    if audio is None or not audio["alive"]:
        return Result(
            "pedal",
            "bad",
            "running, but the audio process plays no blocks",
            f"{where_the_log_is()} has the last messages of the audio process",
        )
    if status["room"]["fault"]:
        return Result(
            "pedal",
            "bad",
            status["room"]["fault"],
            "the previous room still plays; choose another bank or model",
        )
    before = audio
    time.sleep(WATCHED_S)  # what was late long ago, at the start or under another load, is no hint
    with contextlib.suppress(UserError):
        status = ask({"do": "status"})["status"]  # by now JACK has reported whether it has a card
        audio = status["audio"] or before
    blocks, late = (max(0, audio[key] - before[key]) for key in ("blocks", "late_blocks"))
    found = (
        f"plays, load {100 * audio['load']:.0f} %, {late} of {blocks} blocks late now, "
        f"{audio['late_blocks']} of {audio['blocks']} since its start"
    )
    if not has_card(status):
        found += " (without a sound card nothing is lost)"
    elif audio["load"] > 0.7 or late > 1e-3 * blocks:
        return Result("pedal", "hint", found, _relief(audio["block_frames"]))
    return Result("pedal", "ok", found)


def _relief(block_frames: int) -> str:
    """What makes blocks of this size less often late."""
    larger = 1 << block_frames.bit_length()  # the next power of two
    if larger > 1024:
        return "make rooms shorter (`nverb settings set max_ir_s=3`)"
    return f"use larger blocks (`nverb settings set block_frames={larger}`)"


def ports_check() -> Result:
    """JACK's ports, as the running pedal has connected them."""
    from firmware_py.desk.screen import ports
    from firmware_py.link.client import ask

    try:
        status = ask({"do": "status"})["status"]
    except UserError:
        return Result("ports", "none", "no pedal is running")
    if faults := status["ports"]["faults"]:
        parts = [fault.rpartition(": ") for fault in faults]
        return Result("ports", "bad", "; ".join(part[0] for part in parts), parts[-1][2])
    found = "; ".join(" ".join(line.split()) for line in ports(status))
    return Result("ports", "ok", found or "left to other programs to connect")


def wiring_check() -> list[Result]:
    """The board's converters and lines, from the running pedal, or opened and read here.

    One result for each cause. `nverb board check` tests more.
    """
    from device.board import Board
    from device.faults import grouped
    from device.profile import ProfileError
    from firmware_py.link.client import ask

    try:
        board = ask({"do": "status"})["status"]["board"]
    except UserError:
        board = None
    if board is not None:
        name, simulated = board["profile"], board["simulated"]
        groups = board["fault_groups"]
    else:
        name = settings_file.load_for_service()[0].profile
        try:
            with Board.open(name, data_dir()) as opened:
                for _ in range(10):
                    opened.scan()
                    time.sleep(opened.scan_s)
                groups = grouped(opened.faults().values())
                simulated = opened.profile.is_simulated
        except (ProfileError, UserError, OSError) as error:
            remedy = (
                "`nverb board list` lists the profiles, "
                "`nverb settings set profile=NAME` selects one"
            )
            return [Result("board", "bad", str(error), remedy)]
    if groups:
        more = f"`nverb board check {name}` tests each input"
        return [
            Result("board", "bad", f"{group['parts']}: {group['reason']}", group["remedy"] or more)
            for group in groups
        ]
    if simulated and is_used():
        remedy = "`nverb settings set profile=NAME`; `nverb board list` names them"
        return [Result("board", "hint", f"{name} is simulated: no pot is read", remedy)]
    return [Result("board", "ok", f"{name}: all converters and lines respond")]


def supply_check() -> Result:
    seen = health.read()
    if seen["warnings"]:
        return Result(
            "supply",
            "bad" if any("now" in text for text in seen["warnings"]) else "hint",
            ", ".join(seen["warnings"]),
            "use a stronger power supply and a short, thick cable; "
            "if the board is too hot, add a heat sink",
        )
    if seen["temperature_c"] is None:
        return Result("supply", "none", "this machine does not report supply or temperature")
    return Result("supply", "ok", f"no warnings, {seen['temperature_c']:.0f} °C")


def midi_check() -> Result:
    from firmware_py.base.midi_support import usual_api
    from firmware_py.link.client import ask

    wanted = settings_file.load_for_service()[0].midi
    if wanted == "off":
        return Result("MIDI", "ok", "off in the settings")
    try:
        midi = ask({"do": "midi"})["midi"]
    except UserError:  # no pedal is running, or its MIDI is off
        midi = None
    if midi is not None and midi["fault"]:
        return Result("MIDI", "hint", midi["fault"], "`nverb midi list` lists the ports")
    if midi is not None:
        return Result("MIDI", "ok", f"via {midi['api']}: {', '.join(midi['ports']) or 'no port'}")
    if wanted != "jack" and usual_api() == "off":
        return Result(
            "MIDI",
            "none",
            "no ALSA sequencer (/dev/snd/seq) here; `nverb settings set midi=jack` uses JACK MIDI",
        )
    return Result("MIDI", "ok", "ALSA's sequencer is here")


def osc_check() -> Result:
    from firmware_py.link.client import ask

    wanted = settings_file.load_for_service()[0].osc
    if importlib.util.find_spec("pythonosc") is None:
        remedy = how_to_install("python-osc")
        return Result(
            "OSC", "none" if wanted == "off" else "hint", "python-osc is not installed", remedy
        )
    try:
        doors = [
            text for text in ask({"do": "status"})["status"]["doors"] if text.startswith("OSC")
        ]
    except UserError:
        doors = []
    if any("cannot start" in text for text in doors):
        return Result("OSC", "hint", doors[0], "`nverb settings set osc=PORT` selects another port")
    if doors or wanted != "off":
        return Result("OSC", "ok", doors[0] if doors else f"port {wanted} in the settings")
    return Result("OSC", "ok", "off in the settings")


def runtime_check() -> Result:
    if any(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tflite_runtime")):
        return Result("decoder", "ok", "a TFLite runtime is installed")
    from models.container import no_runtime, runtime_package

    state: Literal["ok", "hint"] = "ok" if runtime_package() is None else "hint"
    own = "nverb computes models of its own kind, imported ones play as banks only"
    return Result("decoder", state, f"{no_runtime()}: {own}")


CHECKS: list[Callable[[], Result | list[Result]]] = [
    pedal_check,
    ports_check,
    wiring_check,
    supply_check,
    runtime_check,
    settings_check,
    jack_check,
    midi_check,
    osc_check,
    card_check,
    realtime_check,
    governor_check,
    memory_check,
    state_check,
    safe_start_check,
]


def results() -> list[Result]:
    """Of all checks."""
    found: list[Result] = []
    for check in CHECKS:
        result = check()
        found += [result] if isinstance(result, Result) else result
    return found


def boot_report() -> list[Result]:
    """The steps from power-on to sound, and our share.

    Our share: from the start of the first pedal process to the first room.
    """
    steps = boot.steps(running_dir())
    if len(steps) < 2:
        remedy = f"start it: {how_to_start()}"
        return [Result("boot", "bad", "the pedal has not played since power-on", remedy)]
    began, done = steps[0].began_s, max(step.done_s for step in steps)
    report = [
        Result(
            "system",
            "none",
            f"{began:.2f} s from the kernel's start to the first pedal process",
        )
    ]
    for step in steps:
        report.append(
            Result(
                step.name,
                "ok",
                f"+{step.began_s - began:.2f} s started, "
                f"+{step.done_s - began:.2f} s {boot.STEPS[step.name]}",
            )
        )
    share = done - began
    state: Literal["ok", "hint"] = "ok" if share <= boot.BAR_S else "hint"
    found = (
        f"{share:.2f} s of {done:.2f} s from the kernel's start to the first room "
        f"(bar {boot.BAR_S:g} s)"
    )
    report.append(Result("our share", state, found))
    return report
