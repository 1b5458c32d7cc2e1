"""What `nverb doctor` looks at: a list of checks, each a function without arguments that returns a Result with the remedy in it."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from device import health
from dsp.errors import UserError
from firmware_py.base import boot, crashguard
from firmware_py.base.paths import data_dir, running_dir
from firmware_py.state import settings as settings_file
from models.packages import how_to_install


class Result(NamedTuple):
    """ok: as it should be; hint: plays, but could be better; bad: does not play, or will not; none: cannot be seen here."""

    name: str
    state: Literal["ok", "hint", "bad", "none"]
    found: str
    remedy: str = ""

    def line(self) -> str:
        text = f"{self.state:5} {self.name:12} {self.found}"
        return f"{text}\n      {'':12} -> {self.remedy}" if self.remedy else text


def settings_check() -> Result:
    try:
        settings = settings_file.load()
    except (UserError, OSError) as error:
        return Result(
            "settings",
            "bad",
            str(error),
            "mend the file, or `nverb settings reset`; until then the defaults play",
        )
    return Result(
        "settings",
        "ok",
        f"card {settings.card}, {settings.block_frames} frames, board {settings.profile}",
    )


def jack_check() -> Result:
    from firmware_py.jack.server import missing_tool

    if missing := missing_tool():
        return Result("jackd", "bad", f"{missing[0]} is not installed", missing[1])
    return Result("jackd", "ok", "is installed")


def card_check() -> Result:
    from firmware_py.jack.server import sound_cards

    both, playing = sound_cards(recording=True), sound_cards()
    if both:
        return Result("sound card", "ok", f"{both[0]} plays and records")
    if playing:
        return Result(
            "sound card",
            "bad",
            f"{playing[0]} plays, none records",
            "plug in an interface with an input",
        )
    return Result(
        "sound card",
        "bad",
        "there is none",
        "plug one in, or enable its overlay in /boot/firmware/config.txt",
    )


def realtime_check() -> Result:
    """Of the user who asks: the services have limits of their own, in their units."""
    priority = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    memory = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    enough = memory == resource.RLIM_INFINITY or memory >= 160 * 2**20
    if os.geteuid() == 0 or ((priority == resource.RLIM_INFINITY or priority >= 70) and enough):
        return Result("real time", "ok", "this user may have real-time priority and lock memory")
    return Result(
        "real time",
        "hint",
        "this user may not have real-time priority or lock memory (the service may)",
        "for `nverb run`: sudo dpkg-reconfigure -p high jackd2 (answer yes), sudo usermod -aG audio USER, log in again",
    )


def governor_check() -> Result:
    found = health.read()["governors"]
    if not found:
        return Result("processor", "none", "its clock cannot be set here")
    if found == ["performance"]:
        return Result("processor", "ok", "at full clock")
    return Result(
        "processor", "hint", f"governor {', '.join(found)}: late blocks when the load changes",
        "sudo systemctl enable --now cpu-governor-nverb (or `sudo make install`)",
    )  # fmt: skip


SPARE_MIB = 24
"""What commands, ssh and a bank that is being pushed need beside the pedal."""


def memory_check(meminfo: Path = Path("/proc/meminfo")) -> Result:
    try:
        rows = (line.split() for line in meminfo.read_text().splitlines())
        mib = {row[0].rstrip(":"): int(row[1]) // 1024 for row in rows if len(row) > 1}
        total, spare, swap, unused = (
            mib[key] for key in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
        )
    except (OSError, ValueError, KeyError):
        return Result("memory", "none", "this machine tells nothing of its memory")
    found = f"{spare} of {total} MiB are to be had, {swap - unused} of {swap} MiB swap in use"
    if spare + unused < SPARE_MIB:
        return Result(
            "memory", "bad", f"{found}: programs will be killed",
            "stop what else runs here; the pedal needs less with `nverb settings set max_ir_s=3 midi=off`; docs/service.md, Memory",
        )  # fmt: skip
    return Result("memory", "ok", found)


def is_unmounted(folder: Path, fstab: Path = Path("/etc/fstab")) -> bool:
    """The folder is a partition's place (fstab(5)), and the partition is not there."""
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
            f"{folder}: its partition is not mounted: banks and presets on it are not there, new ones are lost with the power",
            f"`systemctl status {str(folder)[1:].replace('/', '-')}.mount` says why; `sudo fsck` mends it, `nverb image` makes it anew",
        )
    if not os.access(folder, os.W_OK):
        return Result(
            "state",
            "hint",
            f"{folder} is read-only: what plays goes on, nothing new can be kept",
            "mount it writable to keep something",
        )
    if free < 64 * 2**20:
        return Result(
            "state",
            "hint",
            f"{folder}: {free / 1e6:.0f} MB free",
            "delete banks that you do not play",
        )
    return Result("state", "ok", f"{folder}: {free / 1e9:.1f} GB free")


def safe_start_check() -> Result:
    why = crashguard.safe_start_reason(running_dir())
    if why:
        return Result(
            "start", "bad", f"the pedal started safe: {why}",
            "choose another bank (`nverb use NAME`), or switch it off and on; `journalctl -u 'nverb-*'` tells what died",
        )  # fmt: skip
    return Result("start", "ok", "no crash loop since power-on")


def pedal_check() -> Result:
    """The pedal that runs, as its control process sees it."""
    from firmware_py.link.client import ask

    try:
        status = ask({"do": "status"})["status"]
    except UserError as error:
        return Result("pedal", "hint", str(error))
    audio = status["audio"]
    if audio is None or not audio["alive"]:
        return Result(
            "pedal",
            "bad",
            "it runs, but no sound passes",
            "`nverb logs` tells what the audio process said last",
        )
    if status["room"]["fault"]:
        return Result(
            "pedal",
            "bad",
            status["room"]["fault"],
            "the last room plays on; choose another bank or model",
        )
    late = audio["late_blocks"] / max(audio["blocks"], 1)
    found = f"plays, load {100 * audio['load']:.0f} %, {audio['late_blocks']} of {audio['blocks']} blocks late"
    if audio["load"] > 0.7 or late > 1e-3:
        return Result(
            "pedal", "hint", found, "raise block_frames (`nverb settings set block_frames=256`)"
        )
    return Result("pedal", "ok", found)


def wiring_check() -> Result:
    """The board's converters and lines: as the running pedal sees them, or else opened and read here. `nverb board check` asks more."""
    from device.board import Board
    from device.profile import ProfileError
    from firmware_py.link.client import ask

    try:
        board = ask({"do": "status"})["status"]["board"]
    except UserError:
        board = None
    if board is not None:
        name, faults = board["profile"], dict(board["faults"])
    else:
        name = settings_file.load_for_service()[0].profile
        try:
            with Board.open(name, data_dir()) as opened:
                for _ in range(10):
                    opened.scan()
                    time.sleep(opened.scan_s)
                faults = {part: fault.text for part, fault in opened.faults().items()}
        except (ProfileError, UserError, OSError) as error:
            return Result(
                "board",
                "bad",
                str(error),
                "`nverb board list` tells the profiles, `nverb settings set profile=NAME` chooses",
            )
    if faults:
        return Result(
            "board",
            "bad",
            "; ".join(faults.values()),
            f"`nverb board check {name}` looks at each input",
        )
    return Result("board", "ok", f"{name}: its converters and lines answer")


def supply_check() -> Result:
    seen = health.read()
    if seen["warnings"]:
        return Result(
            "supply", "bad" if any("now" in text for text in seen["warnings"]) else "hint", ", ".join(seen["warnings"]),
            "a stronger power supply and a short, thick cable; if it is too hot, a heat sink",
        )  # fmt: skip
    if seen["temperature_c"] is None:
        return Result("supply", "none", "this machine tells nothing of its supply and heat")
    return Result("supply", "ok", f"no warning, {seen['temperature_c']:.0f} °C")


def midi_check() -> Result:
    from firmware_py.base.midi_support import missing_package, usual_api
    from firmware_py.link.client import ask

    wanted = settings_file.load_for_service()[0].midi
    if wanted == "off":
        return Result("MIDI", "ok", "off in the settings")
    if importlib.util.find_spec("rtmidi") is None:
        found, _, remedy = missing_package().partition(": ")
        return Result("MIDI", "hint", f"{found}, which is not installed", remedy)
    try:
        midi = ask({"do": "midi"})["midi"]
    except UserError:  # no pedal runs, or its MIDI is off
        midi = None
    if midi is not None and midi["fault"]:
        return Result("MIDI", "hint", midi["fault"], "`nverb midi list` shows its ports")
    if midi is not None:
        return Result("MIDI", "ok", f"by {midi['api']}: {', '.join(midi['ports']) or 'no plug'}")
    if wanted != "jack" and usual_api() == "off":
        return Result(
            "MIDI",
            "none",
            "this machine has no ALSA sequencer (/dev/snd/seq); `nverb run --midi jack` takes JACK's",
        )
    return Result("MIDI", "ok", "python-rtmidi is installed")


def osc_check() -> Result:
    from firmware_py.link.client import ask

    wanted = settings_file.load_for_service()[0].osc
    if importlib.util.find_spec("pythonosc") is None:
        remedy = how_to_install("python-osc")
        return Result(
            "OSC", "none" if wanted == "off" else "hint", "python-osc is not installed", remedy
        )
    try:
        told = [text for text in ask({"do": "status"})["status"]["doors"] if text.startswith("OSC")]
    except UserError:
        told = []
    if any("cannot start" in text for text in told):
        return Result("OSC", "hint", told[0], "`nverb settings set osc=PORT` chooses another port")
    if told or wanted != "off":
        return Result("OSC", "ok", told[0] if told else f"port {wanted} in the settings")
    return Result("OSC", "ok", "off in the settings")


def runtime_check() -> Result:
    if any(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tflite_runtime")):
        return Result("decoder", "ok", "a TFLite runtime is installed")
    from models.container import no_runtime, runtime_package

    state: Literal["hint", "none"] = "none" if runtime_package() is None else "hint"
    return Result("decoder", state, f"{no_runtime()}: rooms come from a bank, not from the decoder")


CHECKS: list[Callable[[], Result]] = [
    pedal_check,
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


def boot_report() -> list[Result]:
    """Power-on to sound, step by step, and our share of it: from the start of the first of our processes to the first room."""
    steps = boot.steps(running_dir())
    if len(steps) < 2:
        remedy = "start it: `nverb run`, or `sudo systemctl start nverb.target`"
        return [Result("boot", "bad", "the pedal has not played since power-on", remedy)]
    began, done = steps[0].began_s, max(step.done_s for step in steps)
    report = [
        Result(
            "system",
            "none",
            f"{began:.2f} s from the kernel's start until the first of our processes began",
        )
    ]
    for step in steps:
        report.append(
            Result(
                step.name,
                "ok",
                f"+{step.began_s - began:.2f} s began, +{step.done_s - began:.2f} s {boot.STEPS[step.name]}",
            )
        )
    share = done - began
    state: Literal["ok", "hint"] = "ok" if share <= boot.BAR_S else "hint"
    found = f"{share:.2f} s of {done:.2f} s from the kernel's start to the first room (bar {boot.BAR_S:g} s)"
    report.append(Result("our share", state, found))
    return report
