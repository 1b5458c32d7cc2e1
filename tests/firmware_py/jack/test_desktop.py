"""`nverb run` on a desktop, where PipeWire or a jackd under D-Bus has the sound cards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playing import status
from waiting import HANG_S, wait_until

from dsp.errors import UserError
from firmware_py.jack import cards, pipewire, report
from firmware_py.jack.pipewire_cards import use_cards
from firmware_py.jack.server import is_running
from firmware_py.state.settings import Settings

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon"),
]

DEVICES = """context.objects = [
 { factory = adapter args = { factory.name = support.null-audio-sink media.class = Audio/Sink
    node.name = "out" node.description = "Made-up output" audio.position = [ FL FR ]
    priority.session = 2000 } }
 { factory = adapter args = { factory.name = support.null-audio-sink media.class = Audio/Sink
    node.name = "usb-out" node.description = "USB (2.0) Audio" audio.position = [ FL FR ]
    api.alsa.pcm.card = 2 } }
 { factory = adapter args = { factory.name = support.null-audio-sink
    media.class = Audio/Source/Virtual
    node.name = "usb-in" node.description = "USB (2.0) Audio" audio.position = [ FL FR ]
    api.alsa.pcm.card = 2 } } ]
"""
"""The output that the desktop has chosen, and a card that plays and records."""
ASOUND = {
    "cards": " 2 [USB            ]: USB-Audio - USB (2.0) Audio\n                      made up\n",
    "pcm": "02-00: USB : USB : playback 1 : capture 1\n",
}
RUN = """
import sys
from pathlib import Path
from firmware_py.jack import cards
cards.ASOUND = Path(sys.argv.pop(1))
from firmware_py.cli import main
main()
"""


class Pipewire:
    """A real PipeWire with a made-up card, of its own folders."""

    def __init__(self, folder: Path) -> None:
        (folder / "config" / "pipewire" / "pipewire.conf.d").mkdir(parents=True)
        (folder / "config" / "pipewire" / "pipewire.conf.d" / "card.conf").write_text(DEVICES)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """The two processes of a session; returns when its card plays."""
        for name in ("pipewire", "wireplumber"):
            process = subprocess.Popen([name], stdout=sys.stderr, stderr=sys.stderr)
            self.processes.append(process)
            wait_until(pipewire.is_running)
        wait_until(lambda: pipewire.environment(128, 48000))

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folders, the D-Bus and the /proc/asound of a desktop's user, and no JACK server."""
    (tmp_path / "asound").mkdir()
    for name, text in ASOUND.items():
        (tmp_path / "asound" / name).write_text(text)
    monkeypatch.setattr(cards, "ASOUND", tmp_path / "asound")
    for name in ("runtime", "config", "data", "state"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JACK_DEFAULT_SERVER", f"nverb-desktop-{os.getpid()}")
    monkeypatch.setenv("HOME", str(tmp_path))
    bus = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert bus.stdout is not None
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.stdout.readline().strip())
    yield tmp_path
    bus.terminate()
    bus.communicate(timeout=HANG_S)


@contextlib.contextmanager
def pedal(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running `nverb run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, cards.ASOUND, "run", "--midi", "off", *words],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(HANG_S)


def plays() -> int:
    """The block size at which the pedal plays now; 0 if it does not."""
    with contextlib.suppress(UserError):
        audio = status()["audio"]
        return int(audio["block_frames"]) if audio and audio["alive"] else 0
    return 0


def ports(environment: dict[str, str]) -> dict[str, list[str]]:
    """JACK's ports, each with those that it is connected to."""
    done = subprocess.run(
        ["jack_lsp", "-c"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("   "):
            found[list(found)[-1]].append(line.strip())
        else:
            found.setdefault(line, [])
    return found


def wait_for_connections(environment: dict[str, str], wanted: dict[str, list[str]]) -> None:
    """Until JACK's ports `wanted` are connected so."""
    wait_until(
        lambda: wanted.items() <= ports(environment).items(),
        told=lambda: str(ports(environment)),
    )


@contextlib.contextmanager
def metronome(environment: dict[str, str]) -> Iterator[None]:
    """Clicks at the pedal's first input, from another JACK program."""
    everything = os.environ | environment
    process = subprocess.Popen(["jack_metro", "-b", "240", "-n", "clicks"], env=everything)
    try:
        wait_until(lambda: any(port.startswith("clicks:") for port in ports(environment)))
        (source,) = (port for port in ports(environment) if port.startswith("clicks:"))
        subprocess.run(["jack_connect", source, "nverb:input_1"], env=everything, check=True)
        yield
    finally:
        process.kill()
        process.wait()


needs_pipewire = pytest.mark.skipif(
    pipewire.library() is None or not all(map(shutil.which, ("pipewire", "wireplumber"))),
    reason="needs pipewire, pipewire-jack and wireplumber",
)


@needs_pipewire
def test_run_plays_through_pipewire_at_its_own_block_size(session: Path) -> None:
    server = Pipewire(session)
    try:
        server.start()
        with pedal("--block", "64"):
            wait_until(lambda: plays() == 64)
            assert status()["jack"]["server"] == "PipeWire"
            environment = pipewire.environment(64, 48000)
            wait_for_connections(
                environment,
                {
                    "nverb:output_1": ["system:playback_1"],
                    "nverb:output_2": ["system:playback_2"],
                },
            )
            with metronome(environment):
                wait_until(lambda: status()["audio"]["output_db"][0] > -60)
            server.kill()  # a user's session ends and begins
            wait_until(lambda: not plays())
            server.start()
            wait_until(lambda: plays() == 64)
    finally:
        server.kill()


@needs_pipewire
def test_run_plays_through_pipewire_on_the_card_of_the_settings(session: Path) -> None:
    server = Pipewire(session)
    try:
        server.start()
        environment, found = pipewire.environment(128, 48000), report.new("PipeWire")
        other = Settings(capture_card="hw:USB", playback_card="hw:Gone")
        assert list(use_cards(other, environment, found)) == ["NVERB_CAPTURE_PORTS"]
        assert report.describe(found) == (
            "PipeWire, on hw:USB (input) and the desktop's default device (output) "
            "(hw:Gone does not play in PipeWire)"
        )
        assert use_cards(Settings(), environment, found) == {}
        (session / "data" / "settings.toml").write_text('version = 1\ncard = "hw:USB"\n')
        with pedal():
            wait_until(plays)
            wait_for_connections(
                environment,
                {
                    "nverb:output_1": ["USB (2.0) Audio:playback_FL"],
                    "nverb:output_2": ["USB (2.0) Audio:playback_FR"],
                    "nverb:input_1": ["USB (2.0) Audio:capture_FL"],
                    "nverb:input_2": ["USB (2.0) Audio:capture_FR"],
                },
            )
            assert report.describe(status()["jack"]) == "PipeWire, on hw:USB"
    finally:
        server.kill()


@needs_pipewire
def test_run_with_a_named_card_leaves_pipewire_alone(session: Path) -> None:
    server = Pipewire(session)
    try:
        server.start()
        with pedal("--dummy"):
            wait_until(plays)
            assert status()["jack"]["server"] == "jackd"
    finally:
        server.kill()


def test_environment_without_pipewire_is_empty(session: Path) -> None:
    assert not pipewire.is_running() and pipewire.environment(128, 48000) == {}


@pytest.mark.skipif(
    not all(map(shutil.which, ("jackdbus", "jack_control"))),
    reason="needs jackdbus and jack_control of jackd2",
)
def test_run_plays_on_a_jackd_under_dbus(session: Path) -> None:
    try:
        for words in (["ds", "dummy"], ["dps", "period", "256"], ["start"]):
            subprocess.run(["jack_control", *words], timeout=HANG_S, check=True)
        wait_until(lambda: is_running(os.environ["JACK_DEFAULT_SERVER"]))
        with pedal("--block", "64"):
            wait_until(lambda: plays() == 256)  # its own block size: the server is not ours
            assert status()["jack"]["server"] == "other"
            wait_for_connections({}, {"nverb:output_1": ["system:playback_1"]})
        assert is_running(os.environ["JACK_DEFAULT_SERVER"])
    finally:
        subprocess.run(["jack_control", "exit"], timeout=HANG_S, check=False)
