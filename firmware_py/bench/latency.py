"""`nverb bench latency`: the round trip from an output through a cable to an input.

The method of jack_iodelay (F. Adriaensen): sines of several frequencies, whose phases give the
delay. Neighbouring frequencies give it roughly and without ambiguity, distant ones exactly, each
with the whole turns that the rougher one leaves open.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dsp.errors import UserError
from firmware_py.base.service import how_to_start
from firmware_py.bench.parts import Parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PERIOD_FRAMES = 65536
"""Of the signal; the longest delay that can be told."""
STEPS = (1, 4, 16, 64, 256, 1024, 4096)
BINS = (1024, *(1024 + step for step in STEPS))
"""Frequencies in cycles a period: 750 Hz to 3.75 kHz at 48 kHz."""
AMPLITUDE = 0.02
"""Of each sine: -16 dBFS in all."""
PERIODS = 2
"""Recorded; their phases must agree."""
AGREEMENT_FRAMES = 0.05
QUIET_DB, NOISY_DB = -60.0, -20.0
"""Below this level nothing came back; with more noise than this the phases are not exact."""
ATTEMPTS = 4


def add_parser(parts: Parts) -> None:
    parser = parts.add_parser(
        "latency",
        help="the round trip through the card, with a cable from its output to its input",
        description="Connect output 1 of the card with input 1 by a cable and turn the amplifier "
        "down: quiet tones of 0.7 to 4 kHz sound for 4 s. Measures on the JACK server that runs. "
        "What is connected to the two ports is disconnected meanwhile, and connected again.",
    )
    parser.add_argument(
        "--output", metavar="CLIENT:PORT", help="JACK port to play to (default: the card's first)"
    )
    parser.add_argument(
        "--input", metavar="CLIENT:PORT", help="JACK port to listen to (default: the card's first)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handler=_latency)


@dataclass(frozen=True)
class Latency:
    """Frames; gain in dB. explained_frames: what JACK reports for both ports."""

    round_trip_frames: float
    capture_frames: int
    playback_frames: int
    pedal_frames: int
    gain_db: float
    inverted: bool
    rate_hz: int
    block_frames: int

    @property
    def rest_frames(self) -> float:
        """What block size and periods do not explain: converters, USB."""
        return self.round_trip_frames - self.capture_frames - self.playback_frames


def _latency(args: argparse.Namespace) -> int:
    found = measure(args.output, args.input)
    print(json.dumps(asdict(found), indent=2) if args.json else table(found))
    return 0


def table(found: Latency) -> str:
    """The figures as text."""

    def row(name: str, frames: float, note: str) -> str:
        return f"{name:14} {frames:9.1f} frames {1000 * frames / found.rate_hz:8.2f} ms   {note}"

    polarity = ", inverted" if found.inverted else ""
    explained = found.capture_frames + found.playback_frames
    return "\n".join(
        (
            row("round trip", found.round_trip_frames, f"gain {found.gain_db:.1f} dB{polarity}"),
            row(
                "block, periods",
                explained,
                f"{found.capture_frames} capture + {found.playback_frames} playback, as JACK "
                f"reports with blocks of {found.block_frames}",
            ),
            row("the rest", found.rest_frames, "converters, USB, cable"),
            row("pedal", found.pedal_frames, "added by the pedal, not in the round trip"),
        )
    )


def measure(output: str | None = None, input: str | None = None) -> Latency:
    """Measure the round trip from JACK port `output` to `input`; None: the card's first.

    Raises UserError: no server, no such port, no signal.
    """
    import jack as client_library

    try:
        client = client_library.Client(f"nverb-latency-{os.getpid()}", no_start_server=True)
    except client_library.JackError:
        raise UserError(f"no JACK server answers: start the pedal, {how_to_start()}") from None
    try:
        to = output or _first_port(client, "playback", is_input=True)
        source = input or _first_port(client, "capture", is_output=True)
        loop = _Loop(client)
        with _alone(client, to, source):
            try:
                client.connect(loop.out_port, to)
                client.connect(source, loop.in_port)
            except client_library.JackError as error:
                raise UserError(f"{error}: `jack_lsp` lists the ports") from None
            frames, gain_db, inverted = _delay(loop, to, source)
        return Latency(
            round_trip_frames=round(frames, 2),
            capture_frames=_reported_frames(source, "capture"),
            playback_frames=_reported_frames(to, "playback"),
            pedal_frames=_pedal_frames(),
            gain_db=round(gain_db, 1),
            inverted=inverted,
            rate_hz=client.samplerate,
            block_frames=client.blocksize,
        )
    finally:
        client.deactivate()
        client.close()


def _first_port(client: Any, kind: str, **way: bool) -> str:
    ports = client.get_ports(is_audio=True, is_physical=True, **way)
    if not ports:
        raise UserError(f"JACK has no {kind} port of a card: name one, see `jack_lsp`")
    return str(ports[0].name)


class _Loop:
    """Plays the sines for ever and records what comes back."""

    def __init__(self, client: Any) -> None:
        import numpy as np

        from firmware_py.desk.player import play_blocks

        turns = np.arange(PERIOD_FRAMES)[:, None] * np.array(BINS) / PERIOD_FRAMES
        self._sound = (AMPLITUDE * np.sin(2 * np.pi * turns).sum(axis=1)).astype(np.float32)
        self._recording = np.zeros(0, np.float32)
        self._at = self._recorded = self._start = 0
        self._client, self._arange = client, np.arange
        self.out_port = client.outports.register("out")
        self.in_port = client.inports.register("in")
        play_blocks(client, self._process)
        client.activate()

    def _process(self, frames: int) -> None:
        places = self._arange(self._at, self._at + frames) % PERIOD_FRAMES
        self.out_port.get_array()[:] = self._sound[places]
        wanted = len(self._recording) - self._recorded
        if wanted > 0:
            if self._recorded == 0:
                self._start = self._at
            part = self.in_port.get_array()[:wanted]
            self._recording[self._recorded : self._recorded + len(part)] = part
            self._recorded += len(part)
        self._at = (self._at + frames) % PERIOD_FRAMES

    def record(self, periods: int = PERIODS) -> tuple[Floats, int]:
        """Periods, (periods, PERIOD_FRAMES), and the place of the sound at their start."""
        import numpy as np

        frames = periods * PERIOD_FRAMES
        recording = np.zeros(frames, np.float32)
        self._recorded = 0
        self._recording = recording
        deadline = time.monotonic() + 10 + 4 * frames / self._client.samplerate
        while self._recorded < frames:
            if time.monotonic() > deadline:
                raise UserError("JACK plays no blocks: `nverb logs` shows why")
            time.sleep(0.02)
        self._recording = np.zeros(0, np.float32)
        return recording.reshape(periods, PERIOD_FRAMES).astype(float), self._start


@contextlib.contextmanager
def _alone(client: Any, to: str, source: str) -> Iterator[None]:
    """Disconnect everything else from both ports; connect it again at the end, however it comes."""
    pairs = [(port.name, to) for port in client.get_all_connections(to)]
    pairs += [(source, port.name) for port in client.get_all_connections(source)]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        for pair in pairs:
            client.disconnect(*pair)
        yield
    finally:
        for pair in pairs:
            with contextlib.suppress(Exception):  # the client is gone
                client.connect(*pair)


def _delay(loop: _Loop, to: str, source: str) -> tuple[float, float, bool]:
    """The delay in frames, the gain in dB, and whether the polarity is inverted."""
    loop.record(1)  # until the connections are in force and the loop is filled
    reason = ""
    for _attempt in range(ATTEMPTS):
        periods, start = loop.record()
        answers = [analyse(period, start) for period in periods]
        gain_db, noise_db = answers[0].gain_db, max(answer.noise_db for answer in answers)
        delays = [answer.frames for answer in answers]
        if gain_db < QUIET_DB:
            reason = "nothing comes back: is there a cable, are the levels up?"
            break
        if noise_db > NOISY_DB:
            reason = f"too much noise, {noise_db:.0f} dB: is anything else connected?"
        elif max(delays) - min(delays) > AGREEMENT_FRAMES:
            reason = "JACK loses blocks: close other programs"
        else:
            return sum(delays) / len(delays), gain_db, answers[0].inverted
    raise UserError(f"from {to} to {source} {reason}")


@dataclass(frozen=True)
class Answer:
    """frames: the delay, 0 to PERIOD_FRAMES. noise_db: relative to the sines."""

    frames: float
    gain_db: float
    noise_db: float
    inverted: bool


def analyse(period: Floats, start: int) -> Answer:
    """The delay of one recorded period; `start`: the place of the sound when it began."""
    import numpy as np

    spectrum = np.fft.rfft(period)
    bins = np.array(BINS)
    power = float((np.abs(spectrum) ** 2)[1:].sum())
    wanted = float((np.abs(spectrum[bins]) ** 2).sum())
    gain = np.sqrt(wanted / len(BINS)) / (AMPLITUDE * PERIOD_FRAMES / 2)
    # A sine of phase 0 is -i/2 in the spectrum; `start` advances each by its own angle.
    expected = -1j * np.exp(2j * np.pi * bins * start / PERIOD_FRAMES)
    turns = -np.angle(spectrum[bins] / expected) / (2 * np.pi)
    frames = 0.0
    for number, step in enumerate(STEPS, 1):
        exact = (turns[number] - turns[0]) % 1 * PERIOD_FRAMES / step
        span = PERIOD_FRAMES / step
        frames = exact + span * round((frames - exact) / span)
    frames %= PERIOD_FRAMES
    rest = (turns - bins * frames / PERIOD_FRAMES + 0.5) % 1 - 0.5
    return Answer(
        frames=float(frames),
        gain_db=float(20 * np.log10(gain + 1e-12)),
        noise_db=float(10 * np.log10(max(power - wanted, 1e-30) / max(wanted, 1e-30))),
        inverted=bool(np.abs(rest).mean() > 0.25),
    )


def _reported_frames(port: str, way: str) -> int:
    """JACK's own figure for a port; 0 if it has none."""
    environment = os.environ | {"JACK_NO_START_SERVER": "1"}
    done = subprocess.run(
        ["jack_lsp", "-l", port], env=environment, capture_output=True, text=True, check=False
    )
    found = re.search(rf"port {way} latency = \[ \d+ (\d+) \]", done.stdout)
    return int(found[1]) if found else 0


def _pedal_frames() -> int:
    from firmware_py.link.client import ask

    try:
        audio = ask({"do": "status"})["status"]["audio"]
    except UserError:
        return 0
    return int(audio["added_frames"]) if audio else 0
