"""faults: what may break on stage. A pilot tone plays before each fault and again afterwards."""

from __future__ import annotations

from collections.abc import Callable

import farend
from guest import Guest
from report import Report

from firmware_py.desk.supervisor import WATCHDOG_S

SOUND_AGAIN_S = 3.0


def check(guest: Guest, report: Report) -> None:
    board = guest.platform.arch

    def add(what: str, figure: object, bar: str = "", *, ok: bool = True) -> None:
        report.add("faults", board, what, figure, bar, ok=ok)

    guest.run("nverb set gain=0 mix=0 limiter=off bypass=off x=7 y=2 z=5; sleep 1")
    wanted = guest.status()["controls"]

    def under_tone(what: str, script: str, *, silence_s: float, settle_s: float = 4) -> None:
        """Run the script during a pilot tone; the longest silence is the recovery time."""
        with farend.PilotTone(guest) as tone:
            guest.run(script, check=False)
            guest.run(f"sleep {settle_s}")
        found = tone.listen()
        ends = found.last_s > len(tone.heard) / 48000 - 3
        same = guest.status()["controls"] == wanted
        bar = f"<= {silence_s:g} s, same room and knobs" if silence_s else "no gap, no click"
        good = found.longest_silence_s <= silence_s and (silence_s > 0 or not found.breaks_s)
        figure = f"{found.longest_silence_s:.2f} s silent, {len(found.breaks_s)} breaks"
        add(what, figure + ("" if same else ", other controls"), bar, ok=good and ends and same)

    main = "kill -{} $(systemctl show -p MainPID --value nverb-{})".format
    under_tone("control process killed", main(9, "control"), silence_s=0)
    under_tone("audio process killed", main(9, "audio"), silence_s=SOUND_AGAIN_S)
    under_tone("jackd killed", "kill -9 $(pidof jackd)", silence_s=SOUND_AGAIN_S)
    under_tone(
        "control process hangs (watchdog)",
        main("STOP", "control"),
        silence_s=0,
        settle_s=WATCHDOG_S["control"] + 4,
    )
    under_tone(
        "audio process hangs (watchdog)", main("STOP", "audio"), silence_s=SOUND_AGAIN_S, settle_s=6
    )
    under_tone("jackd hangs", "kill -STOP $(pidof jackd)", silence_s=SOUND_AGAIN_S, settle_s=7)
    under_tone(
        "disk full",
        f"{_FILL_DISK}; nverb preset save full",
        silence_s=0,
    )
    add("preset on a full disk", guest.fails("nverb preset save full")[:90], "refused in one line")
    guest.run("rm /var/lib/nverb/full")
    under_tone("clock at 1970", "date -s @0 >/dev/null; nverb preset save seventies", silence_s=0)
    names = guest.run("nverb preset list")
    add(
        "preset saved in 1970",
        "kept" if "seventies" in names else "lost",
        "kept",
        ok="seventies" in names,
    )
    under_tone("SPI device unbound from its driver", _SPI_AWAY, silence_s=0, settle_s=3)
    _card(guest, add)


# ext4 keeps some hundred KB back from a file that grows, and has them again when it is written.
_FILL_DISK = (
    "for block in 1M 64k 1k; do dd if=/dev/zero of=/var/lib/nverb/full "
    "bs=$block oflag=append conv=notrunc 2>/dev/null; sync; done"
)
_SPI = "/sys/bus/spi/drivers/spidev"
_SPI_AWAY = f"echo spi0.0 > {_SPI}/unbind; sleep 2; echo spi0.0 > {_SPI}/bind"


def _card(guest: Guest, add: Callable[..., None]) -> None:
    """Remove the sound card and put it back: unbind its driver, as unplugging a USB card does."""
    before = guest.status()["audio"]
    device = (
        guest.run("ls /sys/bus/platform/drivers/snd_aloop | grep '^snd_aloop'")
        .strip()
        .splitlines()[0]
    )
    driver = "/sys/bus/platform/drivers/snd_aloop"
    answer = guest.run(
        f"timeout 10 sh -c 'echo {device} > {driver}/unbind'; echo $?; sleep 3; "
        "cat /proc/asound/cards",
        check=False,
    )
    gone = "Loopback" not in answer
    guest.run(f"timeout 10 sh -c 'echo {device} > {driver}/bind'", check=False)
    probe = (
        'nverb status --json | python3 -c \'import json,sys; a=json.load(sys.stdin)["audio"]; '
        f'sys.exit(not (a and a["alive"] and a["pid"] != {before["pid"]}))\''
    )
    took = guest.wait(probe, timeout_s=20, what="sound after the card came back")
    add("sound card pulled", "gone" if gone else "still there", "gone", ok=gone)
    add(
        "put back: sound again after",
        f"{took:.1f} s",
        f"<= {SOUND_AGAIN_S:g} s + status",
        ok=took <= SOUND_AGAIN_S + 1,
    )
