"""Listens to MIDI ports and writes what they say to stdout. A process of its own, started by firmware_py.control.midi.

A process, because libjack may take whoever uses it along when its server dies, and because python-rtmidi and libjack would more
than double the memory of the control process. It makes one port that others may be connected to, "nverb-midi:in", and connects
itself to every MIDI plug of the machine, also those that are plugged in later. Each line on stdout:

| line        | meaning                                                  |
|-------------|----------------------------------------------------------|
| `B0 07 64`  | a message: its bytes in hexadecimal, status first        |
| `+ NAME`    | this plug is listened to                                 |
| `- NAME`    | it has gone                                              |
| `! TEXT`    | why it cannot go on; the process leaves                  |

It leaves, too, when its parent has gone. RtMidi's own thread (JACK's, with JACK) only moves bytes into a queue; Python looks at that
queue every POLL_S: no Python ever runs in a thread that JACK waits for.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

from firmware_py.base.log import keep_stderr_harmless
from firmware_py.base.midi_support import missing_package

CLIENT = "nverb-midi"
POLL_S = 0.004
"""Four messages on a MIDI cable: no later than a knob."""
RESCAN_S, LIFE_S = 1.0, 3.0
PR_SET_PDEATHSIG = 1
LONGEST = 3
"""Bytes of the messages that a pedal is steered by; longer ones (system exclusive) are none of its business."""


def is_plug(api: str, name: str) -> bool:
    """Whether a port of this name is hardware: with ALSA a client of the kernel's (16..127; "Midi Through" is 14), with JACK one
    of its driver's or of a2jmidid's."""
    if api == "jack":
        return name.startswith(("system:midi_", "a2j:")) and "Through" not in name
    client = re.search(r" (\d+):\d+$", name)
    return client is not None and 16 <= int(client[1]) < 128 and not name.startswith("Midi Through")


class Ports:
    """rtmidi: the module, or a test's."""

    def __init__(self, rtmidi: Any, api: str) -> None:
        self._rtmidi, self._api = rtmidi, api
        self._number = {"alsa": rtmidi.API_LINUX_ALSA, "jack": rtmidi.API_UNIX_JACK}[api]
        self._own = self._new(CLIENT)
        self._own.open_virtual_port("in")
        self._plugs: dict[str, Any] = {}

    def _new(self, client: str) -> Any:
        port = self._rtmidi.MidiIn(self._number, client, 1024)
        port.ignore_types(sysex=True, timing=True, active_sense=True)
        return port

    def messages(self) -> list[str]:
        """All that has come, as lines."""
        lines = []
        for port in (self._own, *self._plugs.values()):
            while (message := port.get_message()) is not None:
                if len(message[0]) <= LONGEST:
                    lines.append(" ".join(f"{byte:02X}" for byte in message[0]))
        return lines

    def rescan(self) -> list[str]:
        """Takes in new plugs and gives up those that have gone; lines that say so."""
        there = [name for name in self._own.get_ports() if is_plug(self._api, name)]
        lines = []
        for name in [name for name in self._plugs if name not in there]:
            self._plugs.pop(name).close_port()
            lines.append(f"- {name}")
        for name in there:
            if name not in self._plugs:
                port = self._new(f"{CLIENT}-{len(self._plugs) + 1}")
                try:
                    port.open_port(port.get_ports().index(name), "in")
                except (ValueError, self._rtmidi.RtMidiError):  # it has gone in this very moment
                    continue
                self._plugs[name] = port
                lines.append(f"+ {name}")
        return lines


def jack_knows_us() -> bool:
    """Whether the JACK server that we joined still lives. RtMidi does not say when it dies, and its own list goes on as before."""
    environment = os.environ | {"JACK_NO_START_SERVER": "1"}
    try:
        done = subprocess.run(
            ["jack_lsp"], env=environment, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return f"{CLIENT}:in" in done.stdout.splitlines()


def main(api: str) -> int:
    def tell(lines: list[str]) -> None:
        if lines:
            os.write(1, ("\n".join(lines) + "\n").encode())

    parent = os.getppid()
    ctypes.CDLL(None).prctl(
        PR_SET_PDEATHSIG, signal.SIGTERM
    )  # at once; the look at getppid below catches what was before
    os.environ["JACK_NO_START_SERVER"] = "1"
    try:
        import rtmidi

        ports = Ports(rtmidi, api)
    except ImportError:
        tell([f"! {missing_package()}"])
        return 1
    except rtmidi.RtMidiError:
        remedy = {
            "alsa": "no ALSA sequencer: modprobe snd-seq, and join the group audio",
            "jack": "no JACK server answers",
        }
        tell([f"! {remedy[api]}"])
        return 1
    next_rescan = next_life = 0.0
    try:
        while True:
            tell(ports.messages())
            now = time.monotonic()
            if now >= next_rescan:
                next_rescan = now + RESCAN_S
                if os.getppid() != parent:
                    return 0
                if api == "jack" and now >= next_life:
                    next_life = now + LIFE_S
                    if not jack_knows_us():
                        tell(["! JACK has gone"])
                        return 1
                tell(ports.rescan())
            time.sleep(POLL_S)
    except (BrokenPipeError, KeyboardInterrupt):
        return 0


if __name__ == "__main__":
    keep_stderr_harmless()
    status = main(sys.argv[1])
    os._exit(status)  # libjack's way out may hang or crash when its server has gone
