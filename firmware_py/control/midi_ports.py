"""Listens to MIDI ports and writes their messages to stdout. A process of its own, started by
firmware_py.control.midi.

A separate process, because libjack may end its process when the JACK server dies, and because
python-rtmidi and libjack would more than double the memory of the control process. It opens a port
for other programs, "nverb-midi:in", and connects to every MIDI device, also to those plugged in
later. Each line on stdout:

| line        | meaning                                            |
|-------------|----------------------------------------------------|
| `B0 07 64`  | a message: its bytes in hexadecimal, status first  |
| `+ NAME`    | connected to this device                           |
| `- NAME`    | this device is gone                                |
| `! TEXT`    | why it cannot continue; the process exits          |

It also exits when its parent is gone. The threads of RtMidi and JACK only move bytes into a queue,
which Python reads every POLL_S: no Python code runs in a thread that JACK waits for.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from typing import Protocol

from firmware_py.base.midi_support import missing_package
from firmware_py.base.stderr import keep_stderr_harmless

CLIENT = "nverb-midi"
POLL_S = 0.004
"""The time of four messages on a MIDI cable."""
RESCAN_S, LIFE_S = 1.0, 3.0
PR_SET_PDEATHSIG = 1
LONGEST = 3
"""Bytes of the messages that control a pedal. Longer ones (system exclusive) are ignored."""


def is_plug(api: str, name: str) -> bool:
    """Whether a port of this name is hardware.

    With ALSA: a client of the kernel (16..127; "Midi Through" is 14). With JACK: a port of its
    driver or of a2jmidid.
    """
    if api == "jack":
        return name.startswith(("system:midi_", "a2j:")) and "Through" not in name
    client = re.search(r" (\d+):\d+$", name)
    return client is not None and 16 <= int(client[1]) < 128 and not name.startswith("Midi Through")


class MidiIn(Protocol):
    """The methods of rtmidi.MidiIn that are used here."""

    def ignore_types(self, *, sysex: bool, timing: bool, active_sense: bool) -> None: ...

    def open_virtual_port(self, name: str) -> object: ...

    def open_port(self, port: int, name: str) -> object: ...

    def close_port(self) -> None: ...

    def get_ports(self) -> list[str]: ...

    def get_message(self) -> tuple[list[int], float] | None: ...


class RtMidi(Protocol):
    """The names of the module rtmidi that are used here."""

    API_LINUX_ALSA: int
    API_UNIX_JACK: int
    RtMidiError: type[Exception]

    def MidiIn(self, api: int, client: str, queue: int) -> MidiIn: ...


class Ports:
    """The own port and the connected devices. rtmidi: the module, or a test's substitute."""

    def __init__(self, rtmidi: RtMidi, api: str) -> None:
        self._rtmidi, self._api = rtmidi, api
        self._number = {"alsa": rtmidi.API_LINUX_ALSA, "jack": rtmidi.API_UNIX_JACK}[api]
        self._own = self._new(CLIENT)
        self._own.open_virtual_port("in")
        self._plugs: dict[str, MidiIn] = {}

    def _new(self, client: str) -> MidiIn:
        port = self._rtmidi.MidiIn(self._number, client, 1024)
        port.ignore_types(sysex=True, timing=True, active_sense=True)
        return port

    def messages(self) -> list[str]:
        """The messages since the last call, as lines."""
        lines = []
        for port in (self._own, *self._plugs.values()):
            while (message := port.get_message()) is not None:
                if len(message[0]) <= LONGEST:
                    lines.append(" ".join(f"{byte:02X}" for byte in message[0]))
        return lines

    def rescan(self) -> list[str]:
        """Connect to new devices, close those that are gone. Returns the lines that report it."""
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
                except (ValueError, self._rtmidi.RtMidiError):  # unplugged since get_ports
                    continue
                self._plugs[name] = port
                lines.append(f"+ {name}")
        return lines


def jack_knows_us() -> bool:
    """Whether the JACK server still has this client.

    RtMidi does not report the server's death and keeps listing its ports.
    """
    environment = os.environ | {"JACK_NO_START_SERVER": "1"}
    try:
        done = subprocess.run(
            ["jack_lsp"], env=environment, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return f"{CLIENT}:in" in done.stdout.splitlines()


def main(api: str) -> int:
    """Run until the parent is gone. Returns the exit status. api: "alsa" or "jack"."""

    def write(lines: list[str]) -> None:
        if lines:
            os.write(1, ("\n".join(lines) + "\n").encode())

    parent = os.getppid()
    # From now on. The check of getppid below covers the time before.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.environ["JACK_NO_START_SERVER"] = "1"
    try:
        import rtmidi

        ports = Ports(rtmidi, api)
    except ImportError:
        write([f"! {missing_package()}"])
        return 1
    except rtmidi.RtMidiError:
        remedy = {
            "alsa": "no ALSA sequencer: run modprobe snd-seq, and join the group audio",
            "jack": "no JACK server answers",
        }
        write([f"! {remedy[api]}"])
        return 1
    next_rescan = next_life = 0.0
    try:
        while True:
            write(ports.messages())
            now = time.monotonic()
            if now >= next_rescan:
                next_rescan = now + RESCAN_S
                if os.getppid() != parent:
                    return 0
                if api == "jack" and now >= next_life:
                    next_life = now + LIFE_S
                    if not jack_knows_us():
                        write(["! JACK is gone"])
                        return 1
                write(ports.rescan())
            time.sleep(POLL_S)
    except (BrokenPipeError, KeyboardInterrupt):
        return 0


if __name__ == "__main__":
    keep_stderr_harmless()
    status = main(sys.argv[1])
    os._exit(status)  # libjack's exit handlers may hang or crash when its server is gone
