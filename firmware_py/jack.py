"""Finding and starting a JACK server. Used by the supervisor, the demo, tests and benches; never by the audio process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from firmware_py.errors import UserError


def is_running(server: str | None = None) -> bool:
    """True if a JACK server of that name (None: the default one) answers."""
    tool = _tool("jack_lsp")
    environment = os.environ | {"JACK_NO_START_SERVER": "1"}
    if server:
        environment["JACK_DEFAULT_SERVER"] = server
    try:
        done = subprocess.run([tool], env=environment, capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def sound_cards() -> list[str]:
    """ALSA cards that can play, as `hw:NAME` and `hw:NUMBER`, the first card first; empty where there is none."""
    try:
        text = Path("/proc/asound/cards").read_text()
        playing = {
            line.split("-")[0] for line in Path("/proc/asound/pcm").read_text().splitlines() if "playback" in line
        }
    except OSError:
        return []
    cards = re.findall(r"^\s*(\d+) \[(\S+)\s*\]", text, re.MULTILINE)
    return [f"hw:{card}" for number, name in cards if f"{int(number):02d}" in playing for card in (name, number)]


class JackServer:
    """A jackd of our own."""

    def __init__(
        self,
        name: str | None,
        driver: list[str],
        *,
        block_frames: int,
        rate_hz: int,
        realtime: bool = True,
        synchronous: bool = False,
    ) -> None:
        """Starts jackd and returns when it answers. `synchronous`: the server waits for its clients, so that a late one costs time
        and no samples. Raises UserError with jackd's own words if it does not come up within 10 s."""
        command = [_tool("jackd")]
        if name:
            command += ["-n", name]
        command += ["-R"] if realtime else ["-r"]
        if synchronous:
            command.append("-S")
        command += ["-d", *driver, "-r", str(rate_hz), "-p", str(block_frames)]
        self.name, self.command = name, command
        self._log = tempfile.TemporaryFile()
        environment = os.environ | {"JACK_NO_AUDIO_RESERVATION": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environment,
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while not is_running(name):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                words = self.last_words()
                self.close()
                raise UserError(f"jackd did not start ({' '.join(command)}): {words}")
            time.sleep(0.05)

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def last_words(self) -> str:
        lines = [line for line in self.log().splitlines() if line.strip()]
        return " / ".join(lines[-2:]) or "it said nothing"

    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        """Stops it and forgets its log."""
        self.stop()
        self._log.close()

    def stop(self) -> None:
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def dummy(name: str, *, block_frames: int = 128, rate_hz: int = 48000, synchronous: bool = False) -> JackServer:
    """A JACK server without a sound card, paced by a timer."""
    return JackServer(
        name, ["dummy"], block_frames=block_frames, rate_hz=rate_hz, realtime=False, synchronous=synchronous
    )


def connect(source: str, target: str, server: str | None = None) -> bool:
    """Connects two ports; True if they are connected now."""
    command = [_tool("jack_connect"), *(["-s", server] if server else []), source, target]
    return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UserError(f"{name} is missing: sudo apt-get install jackd2")
    return path
