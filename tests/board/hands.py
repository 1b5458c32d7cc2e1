"""hands: pots behind /dev/spidev and the kernel's IIO driver, switches and LEDs on a gpiochip."""

from __future__ import annotations

from collections.abc import Callable

import farend
import numpy as np
import signals
from guest import Guest
from report import Report

BYPASS, ON_LED = 17, 22
Add = Callable[..., None]


def _impulse_response(guest: Guest) -> signals.Floats:
    """The impulse response of the pedal now."""
    impulse = np.zeros((4 * signals.RATE_HZ, 2))
    impulse[200] = 0.5
    return farend.play(guest, impulse, seconds=6)[:, 0]


def _level_db(guest: Guest) -> float:
    heard = farend.play(guest, signals.pilot(1.5), seconds=3)[:, 0]
    return 20 * float(np.log10(signals.listen(heard).amplitude / signals.PILOT_AMPLITUDE))


def _controls(guest: Guest) -> dict[str, float]:
    values: dict[str, float] = guest.status()["controls"]
    return values


def check(guest: Guest, report: Report) -> None:
    board = guest.platform.arch

    def add(what: str, figure: object, bar: str = "", *, ok: bool = True) -> None:
        report.add("hands", board, what, figure, bar, ok=ok)

    guest.run("nverb set mix=100 limiter=off lowpass=off highpass=off predelay=0 bypass=off")
    _check_ends(guest, add)
    _check_decay(guest, add)
    _check_gain(guest, add)
    _check_bypass(guest, add)
    _check_removed_converter(guest, add)
    _check_midi(guest, add)
    _check_iio(guest, add)


def _check_ends(guest: Guest, add: Add) -> None:
    """Turn all pots from end to end, so that each also picks its control up."""
    guest.turn(gain=0, x=0, y=0, z=0, width=0)
    guest.run("sleep 1")
    low = _controls(guest)
    guest.turn(gain=1023, x=1023, y=1023, z=1023, width=1023)
    guest.run("sleep 1")
    high = _controls(guest)
    wanted = {"gain": (-140, 12), "x": (0, 9), "y": (0, 9), "z": (0, 9), "width": (-4, 4)}
    reached = [
        name for name, (bottom, top) in wanted.items() if low[name] == bottom and high[name] == top
    ]
    add(
        "spidev: pots that reach both ends exactly",
        f"{len(reached)} of 5",
        "5",
        ok=len(reached) == 5,
    )
    guest.turn(width=640)


def _check_decay(guest: Guest, add: Add) -> None:
    """Compare the decay times of two positions of x, measured on the sound."""
    seconds = {}
    for code in (200, 800):
        guest.turn(x=code, y=500, z=500)
        guest.run("sleep 1.5")
        seconds[code] = signals.t30_s(_impulse_response(guest))
    add(
        "T30 at x = 200 and 800 of 1023",
        f"{seconds[200]:.2f} s, {seconds[800]:.2f} s",
        "> 1.5 x",
        ok=seconds[800] > 1.5 * seconds[200],
    )


def _check_gain(guest: Guest, add: Add) -> None:
    """Compare the gain control with the level of the dry sound."""
    guest.run("nverb set mix=0")
    knob, heard = [], []
    for code in (350, 700):
        guest.turn(gain=code)
        guest.run("sleep 1")
        knob.append(_controls(guest)["gain"])
        heard.append(_level_db(guest))
    worst = max(abs(a - b) for a, b in zip(knob, heard, strict=True))
    figure = f"knob {knob[0]:.1f} and {knob[1]:.1f} dB, sound {heard[0]:.1f} and {heard[1]:.1f} dB"
    add("gain pot", figure, "within 0.1 dB", ok=worst <= 0.1)


def _check_bypass(guest: Guest, add: Add) -> None:
    """Press the footswitch for bypass with trails: the pilot tone has neither clicks nor gaps."""
    guest.run("nverb set gain=0 mix=30 trails=on")
    with farend.PilotTone(guest) as tone:
        guest.press(BYPASS)
        guest.run("sleep 1")
        bypassed, lit = _controls(guest)["bypass"], guest.lit(ON_LED)
        guest.press(BYPASS)
        guest.run("sleep 1")
        back, lit_again = _controls(guest)["bypass"], guest.lit(ON_LED)
    add(
        "footswitch on a GPIO line",
        f"bypass {bypassed:g}, then {back:g}",
        "1, then 0",
        ok=(bypassed, back) == (1, 0),
    )
    add(
        "LED 'on' on a GPIO line",
        f"{lit:d}, then {lit_again:d}",
        "0, then 1",
        ok=(lit, lit_again) == (False, True),
    )
    found = tone.listen()
    add("bypass and back: clicks and gaps", len(found.breaks_s), "0", ok=not found.breaks_s)


def _check_removed_converter(guest: Guest, add: Add) -> None:
    """Disconnect the converter while the pedal plays, and connect it again."""
    before = _controls(guest)["x"]
    with farend.PilotTone(guest) as tone:
        guest.run("echo 0 > /sys/module/pedal_sim/parameters/present; sleep 2")
        kept, is_reported = _controls(guest)["x"], "FAULT" in guest.run("nverb status")
        guest.run("echo 1 > /sys/module/pedal_sim/parameters/present")
        back_s = guest.wait(
            "nverb status | grep -q 'no fault'", timeout_s=15, what="the converter is back"
        )
    add(
        "converter disconnected",
        f"x {before:.2f} -> {kept:.2f}, reported: {is_reported}",
        "x kept, reported",
        ok=before == kept and is_reported,
    )
    add(
        "connected: knobs work again after",
        f"{back_s:.1f} s",
        "no restart, <= 10 s",
        ok=back_s <= 10,
    )
    found = tone.listen()
    add("meanwhile: clicks and gaps", len(found.breaks_s), "0", ok=not found.breaks_s)


def _check_midi(guest: Guest, add: Add) -> None:
    """Messages through ALSA's sequencer from a virtual device, that is also unplugged for 0.3 s."""
    send = "printf '%b' '{}' > /dev/snd/midiC1D0; sleep 0.3"

    def heard(octets: str) -> float:
        guest.run(send.format(octets))
        return _controls(guest)["mix"]

    ends = heard(r"\xb0\x5b\x00"), heard(r"\xb0\x5b\x7f")
    add("MIDI controller 91 at 0 and 127", f"mix {ends}", "(0, 100)", ok=ends == (0, 100))
    broken = heard(r"\xf0\x01\x02\xb0\x5b\xb0\x5b\x00")
    add("after a SysEx without end and half a message", f"mix {broken:g}", "0", ok=broken == 0)
    guest.run(
        "cd /sys/bus/platform/drivers/snd_virmidi; device=$(echo snd_virmidi.*); "
        "echo $device > unbind; sleep 0.3; echo $device > bind; sleep 1"
    )
    back = heard(r"\xb0\x5b\x7f")
    add("MIDI device that was away for 0.3 s", f"mix {back:g}", "100", ok=back == 100)


def _check_iio(guest: Guest, add: Add) -> None:
    """Read the pots with the kernel's driver for the chip."""
    guest.run(
        "systemctl stop nverb-control; modprobe -r pedal_sim; modprobe mcp320x; "
        "modprobe pedal_sim iio=1 pots=100,100,100,100,100; cd /var/lib/nverb/profiles; "
        'sed \'s/chip = "mcp3008", spi = .0, 0./chip = "iio", name = "mcp3008"/\' emulated.toml '
        "> emulated-iio.toml; nverb settings set profile=emulated-iio; "
        "systemctl start nverb-control; sleep 2"
    )
    # Up and down: on the way each pot passes the value of its control and takes over.
    guest.turn(x=1023, y=1023, z=1023)
    guest.run("sleep 1")
    high = _controls(guest)
    guest.turn(x=0, y=0, z=0)
    guest.run("sleep 1")
    low = _controls(guest)
    reached = [name for name in "xyz" if low[name] == 0 and high[name] == 9]
    add(
        "IIO (mcp320x): pots that reach both ends",
        f"{len(reached)} of 3",
        "3",
        ok=len(reached) == 3,
    )
    guest.run(
        "nverb settings set profile=emulated; systemctl stop nverb-control; "
        "modprobe -r pedal_sim; modprobe pedal_sim; systemctl start nverb-control"
    )
