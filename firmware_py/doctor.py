"""What `nverb doctor` looks at: a list of checks, each a function without arguments that returns a Result with the remedy in it."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from firmware_py import boot, crashguard, settings_file
from firmware_py.errors import UserError
from firmware_py.paths import data_dir, running_dir


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
            "settings", "bad", str(error), "mend the file, or `nverb settings reset`; until then the defaults play"
        )
    return Result("settings", "ok", f"card {settings.card}, {settings.block_frames} frames, board {settings.profile}")


def jack_check() -> Result:
    if shutil.which("jackd") is None:
        return Result("jackd", "bad", "is not installed", "sudo apt-get install jackd2")
    return Result("jackd", "ok", "is installed")


def card_check() -> Result:
    from firmware_py.jack import sound_cards

    both, playing = sound_cards(recording=True), sound_cards()
    if both:
        return Result("sound card", "ok", f"{both[0]} plays and records")
    if playing:
        return Result("sound card", "bad", f"{playing[0]} plays, none records", "plug in an interface with an input")
    return Result(
        "sound card", "bad", "there is none", "plug one in, or enable its overlay in /boot/firmware/config.txt"
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
    found = {
        path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpufreq").glob("policy*/scaling_governor")
    }
    if not found:
        return Result("processor", "none", "its clock cannot be set here")
    if found == {"performance"}:
        return Result("processor", "ok", "at full clock")
    return Result(
        "processor", "hint", f"governor {', '.join(sorted(found))}: late blocks when the load changes",
        "sudo systemctl enable --now cpu-governor-nverb (or `sudo make install`)",
    )  # fmt: skip


def state_check() -> Result:
    try:
        folder = data_dir()
        free = shutil.disk_usage(folder).free
    except (UserError, OSError) as error:
        return Result("state", "bad", str(error))
    if not os.access(folder, os.W_OK):
        return Result("state", "hint", f"{folder} is read-only: what plays goes on, nothing new can be kept")
    if free < 64 * 2**20:
        return Result("state", "hint", f"{folder}: {free / 1e6:.0f} MB free", "delete banks that you do not play")
    return Result("state", "ok", f"{folder}: {free / 1e9:.1f} GB free")


def safe_start_check() -> Result:
    why = crashguard.safe_start_reason(running_dir())
    if why:
        return Result(
            "start", "bad", f"the pedal started safe: {why}",
            "choose another bank (`nverb bank use`), or switch it off and on; `journalctl -u 'nverb-*'` tells what died",
        )  # fmt: skip
    return Result("start", "ok", "no crash loop since power-on")


CHECKS: list[Callable[[], Result]] = [
    settings_check,
    jack_check,
    card_check,
    realtime_check,
    governor_check,
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
    report = [Result("system", "none", f"{began:.2f} s from the kernel's start until the first of our processes began")]
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
