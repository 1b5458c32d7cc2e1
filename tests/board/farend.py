"""Guitar and amplifier of the emulated board: device 1 of its sound card (snd-aloop)."""

from __future__ import annotations

import numpy as np
import signals
from guest import Guest
from signals import Floats

_FORMAT = "-D hw:Loopback,1 -t raw -f FLOAT_LE -r 48000 -c 2 --buffer-time=500000"
_PLAYER = f"""
import array, math, sys
second = array.array("f")
step = 2 * math.pi * {signals.PILOT_HZ} / {signals.RATE_HZ}
for n in range({signals.RATE_HZ}):
    value = {signals.PILOT_AMPLITUDE} * math.sin(step * n)
    second.extend((value, value))
while True:
    sys.stdout.buffer.write(second.tobytes())
"""


def play(guest: Guest, samples: Floats, *, seconds: float) -> Floats:
    """Play samples into the pedal and return its output, (frames, 2).

    The recording begins before the playing.
    """
    guest.put(np.ascontiguousarray(samples, "<f4").tobytes(), "/run/far.raw")
    guest.run(
        f"chrt -f 60 arecord -q {_FORMAT} -d {round(seconds)} /run/heard.raw & "
        "recorder=$!; sleep 0.3; "
        f"chrt -f 60 aplay -q {_FORMAT} /run/far.raw; wait $recorder"
    )
    heard = signals.raw(guest.get("/run/heard.raw"))
    guest.run("rm /run/far.raw /run/heard.raw")
    return heard


class PilotTone:
    """A pilot tone through the pedal during a `with` block; afterwards `heard` is the recording."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self.began_s = 0.0
        """The guest's uptime at the recording's first frame; exact to some tens of ms."""
        self.heard: Floats = np.zeros((0, 2))

    def __enter__(self) -> PilotTone:
        self._guest.put(_PLAYER.encode(), "/run/pilot.py")
        self._guest.run(
            f"systemctl reset-failed pilot recorder 2>/dev/null; "
            "systemd-run -q --unit=pilot sh -c "
            f"'python3 /run/pilot.py | chrt -f 60 aplay -q {_FORMAT}'; sleep 1; "
            "systemd-run -q --unit=recorder sh -c "
            '\'cut -d" " -f1 /proc/uptime > /run/heard.at; '
            f"exec chrt -f 60 arecord -q {_FORMAT} /run/heard.raw'; sleep 1.5"
        )
        self.began_s = float(self._guest.run("cat /run/heard.at"))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._guest.run(
                "sleep 1; systemctl kill -s INT recorder; sleep 0.5; systemctl stop recorder pilot",
                check=False,
            )
            self.heard = signals.raw(self._guest.get("/run/heard.raw"))
        self._guest.run(
            "systemctl stop recorder pilot 2>/dev/null; rm -f /run/heard.raw", check=False
        )

    def listen(self, *, since_s: float = 0.0) -> signals.Pilot:
        """Measure the left channel, from the uptime `since_s` on."""
        skip = max(0, round((since_s - self.began_s) * signals.RATE_HZ))
        return signals.listen(self.heard[skip:, 0])


def dropouts(guest: Guest) -> tuple[int, bool]:
    """Play the dry pilot tone for three seconds.

    Returns the number of gaps and clicks, and whether there are none and the tone was heard.
    """
    guest.run("nverb set gain=0 mix=0 limiter=off bypass=off")
    with PilotTone(guest) as tone:
        guest.run("sleep 3")
    found = tone.listen()
    return len(found.breaks_s), not found.breaks_s and found.last_s - found.first_s > 2
