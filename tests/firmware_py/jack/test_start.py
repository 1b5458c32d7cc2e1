"""How jackd is started: what is tried, in which order, and why it failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from made_up_asound import TAIL, nverb, picky_jackd, write_cards
from waiting import HANG_S, wait_until

from firmware_py.jack import abilities, cards, report
from firmware_py.jack.abilities import Abilities
from firmware_py.jack.cards import Choice
from firmware_py.jack.reasons import reason
from firmware_py.jack.server import JackFailed, JackServer
from firmware_py.jack.start import JackAttempt, attempts
from firmware_py.link.status import JackStatus
from firmware_py.state.card_name import CardName
from firmware_py.state.settings import Settings

USB = Choice(CardName("USB"), CardName("USB"))
STREAM = """Focusrite Scarlett Solo USB at usb-0000:01:00.0-1.3, high speed : USB Audio

Playback:
  Status: Stop
  Interface 1
    Altset 1
    Format: S32_LE
    Channels: 2
    Endpoint: 0x01 (1 OUT) (ASYNC)
    Rates: 44100, 48000, 88200, 96000
    Data packet interval: 125 us

Capture:
  Status: Stop
  Interface 2
    Altset 1
    Format: S32_LE
    Channels: 2
    Rates: 44100
  Interface 2
    Altset 2
    Rates: 8000 - 16000 (continuous)
"""
DUMP = """HW Params of device "hw:USB":
--------------------
ACCESS:  MMAP_INTERLEAVED RW_INTERLEAVED
FORMAT:  S16_LE S32_LE
CHANNELS: [1 2]
RATE: [8000 48000]
PERIOD_TIME: (333 65334)
PERIOD_SIZE: [64 3136)
PERIODS: [3 32]
BUFFER_SIZE: [192 6272]
--------------------
aplay: set_params:1352: Sample format non available
"""


def test_ask_reads_rates_of_usb_and_ranges_of_alsa(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "ASOUND", write_cards(tmp_path / "asound", "1:USB:both"))
    (tmp_path / "asound" / "card1").mkdir()
    (tmp_path / "asound" / "card1" / "stream0").write_text(STREAM)
    for tool in ("aplay", "arecord"):
        (tmp_path / tool).write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{DUMP}END\nexit 1\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    able = abilities.ask(USB)
    assert able.ranges == {
        "rate_hz": ((44100, 44100),),  # both directions together
        "block_frames": ((64, 3135),),
        "periods": ((3, 32),),
    }
    assert attempts(Settings(), able)[0] == JackAttempt(128, 44100, 3)
    assert attempts(Settings(block_frames=32), able)[0] == JackAttempt(64, 44100, 3)


def test_ask_without_tools_knows_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cards, "ASOUND", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert abilities.ask(USB) == Abilities()


def test_aplay_prints_ranges_that_are_read() -> None:
    """The real tool, on ALSA's device without hardware, which can do everything."""
    done = subprocess.run(
        ["aplay", "-D", "null", "-f", "FLOAT64_BE", "-s", "1", "--dump-hw-params", "/dev/zero"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    found = abilities.from_dump(done.stderr)
    assert found["rate_hz"][0][0] <= 8000 and found["rate_hz"][0][1] >= 192000
    assert found["block_frames"][0][0] <= 16 and found["periods"][0][1] >= 3


@pytest.mark.parametrize("block", [16, 128, 1024])
@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_attempts_change_one_thing_at_a_time_and_the_block_last(block: int, rate: int) -> None:
    tried = attempts(Settings(block_frames=block, rate_hz=rate), Abilities())
    assert tried[0] == JackAttempt(block, rate, 2)
    assert len(set(tried)) == len(tried)
    for attempt in tried[1:]:
        nearer = [
            other
            for other in tried[: tried.index(attempt)]
            if sum(a != b for a, b in zip(other, attempt, strict=True)) == 1
        ]
        assert nearer, attempt
    blocks = [attempt.block_frames for attempt in tried]
    assert blocks == sorted(blocks)


MODDUO = "ALSA lib confmisc.c:165:(snd_config_get_card) Cannot get card index for MODDUO"
BUSY = (
    'ATTENTION: The playback device "hw:USB" is already in use. Please stop the application using '
    "it and run JACK again"
)


@pytest.mark.parametrize(
    ("line", "text", "culprit"),
    [
        (MODDUO, "there is no sound card MODDUO", "card"),
        (BUSY, "another program uses it", "card"),
        ("ALSA: cannot set sample/frame rate to 48000 for capture", "refuses 48000 Hz", "rate_hz"),
        ("ALSA: cannot set period size to 64 frames for playback", "64 frames", "block_frames"),
        ("ALSA: got smaller periods 2 than 3 for playback", "2 periods, not 3", "periods"),
        ("ALSA: cannot set channel count to 1 for playback", "1 channels for playback", "card"),
        ('Sorry. The audio interface "hw:USB" doesn\'t support any of the hardware sample formats '
         "that JACK's alsa-driver can use.", "no sample format", "card"),
        ("too many servers already active", "eight JACK servers", "card"),
        ("Something new went wrong", "Something new went wrong", ""),
        ("", "it gave no reason", ""),
    ],
)  # fmt: skip
def test_reason_is_jackds_own_and_not_its_last_line(line: str, text: str, culprit: str) -> None:
    found = reason(f"jackdmp 1.9.21\nCopyright 2001-2005 Paul Davis\n{line}\n{TAIL}\n", USB)
    assert text in found.text and found.culprit == culprit
    assert "Failed to open" not in str(found)


def test_jack_server_raises_reason_of_real_jackd() -> None:
    with pytest.raises(JackFailed, match=r"on plughw:MODDUO: there is no sound card MODDUO"):
        name = CardName("MODDUO", plug=True)
        JackServer(
            f"nverb-reason-{os.getpid()}",
            ["alsa", "-d", str(name)],
            block_frames=128,
            rate_hz=48000,
            realtime=False,
            choice=Choice(name, name),
        )


class Scene:
    """A made-up machine: cards, a jackd, a data folder and a runtime folder."""

    def __init__(self, folder: Path, *found: str, says: str = "refuses", rate: int = 0) -> None:
        self.asound = write_cards(folder / "asound", *found)
        self.calls = folder / "calls"
        self.calls.touch()
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        self.runtime = folder / "run"
        self.runtime.mkdir(mode=0o700)
        self.environment = {
            "NVERB_DATA_DIR": str(self.data),
            "NVERB_RUNTIME_DIR": str(self.runtime),
            "JACK_DEFAULT_SERVER": f"nverb-scene-{os.getpid()}",
            "XDG_RUNTIME_DIR": str(self.runtime),  # no PipeWire
            **picky_jackd(folder / "bin", self.calls, says, rate),
        }

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            nverb(self.asound, *words),
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=HANG_S)

    def asked(self) -> list[str]:
        """What jackd was called with, from its driver on."""
        return [line.partition(" -d ")[2] for line in self.calls.read_text().splitlines()]

    def until(self, condition: Callable[[JackStatus], bool]) -> JackStatus:
        """Wait for a report that satisfies the condition."""

        def found() -> JackStatus | None:
            now = report.read(self.runtime)
            return now if now is not None and condition(now) else None

        answer = wait_until(found, told=self.calls.read_text)
        assert answer is not None
        return answer


def test_run_and_jack_ask_jackd_for_the_same(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "1:USB:both")
    (scene.data / "settings.toml").write_text(
        'version = 1\ncard = "hw:CARD=USB,DEV=0"\nperiods = 3\ncapture_channels = 2\n'
        "playback_channels = 2\nblock_frames = 512\n"
    )
    asked: dict[str, list[str]] = {}
    for command in ("run", "jack"):
        scene.calls.write_text("")
        with scene.running(command, *(("--midi", "off") if command == "run" else ())):
            wait_until(lambda: len(scene.asked()) >= 8)
        asked[command] = scene.asked()[:8]
    assert asked["run"] == asked["jack"]
    assert asked["run"][0] == "alsa -d hw:USB -n 3 -i 2 -o 2 -r 48000 -p 512"
    assert asked["run"][1] == "alsa -d hw:USB -n 2 -i 2 -o 2 -r 48000 -p 512"


def test_run_with_failing_card_exits_with_the_first_reason(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "1:USB:both")
    with scene.running("run", "--midi", "off") as process:
        _, errors = process.communicate(timeout=HANG_S)
    assert process.returncode == 1
    assert "on hw:USB: it refuses block, rate and periods for playback" in errors.splitlines()[-1]
    assert "Failed to open server" not in errors and errors.count("mixer of USB") <= 1


def test_run_names_the_missing_card_and_those_there(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "0:vc4hdmi0:play", "1:USB:both")
    with scene.running("run", "--card", "plughw:MODDUO") as process:
        _, errors = process.communicate(timeout=HANG_S)
    assert process.returncode == 1 and not scene.asked()
    assert "no sound card plughw:MODDUO; here: hw:vc4hdmi0" in errors and "hw:USB (" in errors


def test_jack_waits_for_a_card_and_reports_what_it_waits_for(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "0:vc4hdmi0:play")
    (scene.data / "settings.toml").write_text('version = 1\ncard = "hw:USB"\n')
    with scene.running("jack"):
        found = scene.until(lambda report: bool(report["trouble"]))
        assert found["trouble"].startswith(
            "waiting for a sound card: there is no sound card hw:USB"
        )
        assert "hw:vc4hdmi0" in found["trouble"] and not scene.asked()
        write_cards(scene.asound, "0:vc4hdmi0:play", "1:USB:both")
        wait_until(scene.asked)


def test_jack_does_not_start_jackd_on_a_card_in_use(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "1:USB:both")
    status = scene.asound / "card1" / "pcm0p" / "sub0" / "status"
    status.parent.mkdir(parents=True)
    status.write_text(f"state: RUNNING\nowner_pid   : {os.getpid()}\n")
    with scene.running("jack"):
        found = scene.until(lambda report: bool(report["trouble"]))
        assert f"(process {os.getpid()}" in found["trouble"] and "uses it" in found["trouble"]
        assert not scene.asked()
        status.write_text("closed\n")
        wait_until(scene.asked)


@pytest.mark.live
def test_card_of_one_rate_plays_at_the_block_of_the_settings(tmp_path: Path) -> None:
    """A card that only does 44.1 kHz and does not say so: the real jackd plays there."""
    scene = Scene(tmp_path, "0:USB:both", says="only 44100", rate=44100)
    with scene.running("jack"):
        found = scene.until(lambda report: not report["trouble"])
    assert (found["block_frames"], found["rate_hz"], found["periods"]) == (128, 44100, 2)
    assert found["changed"] == "not 48000 Hz, it refused"
    assert [call.partition(" -n ")[2] for call in scene.asked()] == [
        "2 -r 48000 -p 128",
        "2 -r 44100 -p 128",
    ]
    assert (scene.data / "sound-card").read_text() == "hw:USB hw:USB\n"
