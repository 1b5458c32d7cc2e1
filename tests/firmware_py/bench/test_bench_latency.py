"""The round trip: exact on made-up loops, and on a real jackd whose cable is a JACK client."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import jack as jack_client
import numpy as np
import pytest
from playing import ask, set_controls, sine, take
from waiting import HANG_S, wait_until

from dsp.errors import UserError
from firmware_py.bench.latency import AMPLITUDE, BINS, PERIOD_FRAMES, analyse, measure
from firmware_py.desk.player import play_blocks
from firmware_py.desk.private_pedal import private_pedal, wait_for_room


@pytest.mark.parametrize("delay", [0.0, 1.3, 127.96, 415.4, 4800.7, 40000.2])
@pytest.mark.parametrize("inverted", [False, True])
def test_delay_is_exact_to_a_tenth_of_a_frame(delay: float, inverted: bool) -> None:
    """With noise at -50 dB and a high-pass at 20 Hz, as a card's coupling capacitor is."""
    start, rate_hz = 12345, 48000
    frames = np.arange(PERIOD_FRAMES) + start - delay
    recorded = np.zeros(PERIOD_FRAMES)
    for each in BINS:
        hz = each * rate_hz / PERIOD_FRAMES
        lead = np.arctan(20 / hz)
        recorded += np.sin(2 * np.pi * each * frames / PERIOD_FRAMES + lead)
    recorded *= 0.3 * AMPLITUDE * (-1 if inverted else 1)
    noise = np.random.default_rng(1).standard_normal(PERIOD_FRAMES)
    recorded += noise * np.sqrt(np.mean(recorded**2)) * 10 ** (-50 / 20)
    answer = analyse(recorded, start)
    assert abs(answer.frames - delay) < 0.1
    assert answer.inverted is inverted
    assert abs(answer.gain_db - 20 * np.log10(0.3)) < 0.1


@contextmanager
def cable(delay: int) -> Iterator[jack_client.Client]:
    """A JACK client `cable` whose port `out` plays what `in` got `delay` frames before."""
    server = os.environ["JACK_DEFAULT_SERVER"]
    client = jack_client.Client("cable", servername=server, no_start_server=True)
    source, target = client.inports.register("in"), client.outports.register("out")
    line = np.zeros(delay, np.float32)

    def play(_frames: int) -> None:
        nonlocal line
        everything = np.concatenate([line, source.get_array()])
        target.get_array()[:] = everything[: len(everything) - delay]
        line = everything[len(everything) - delay :]

    play_blocks(client, play)
    client.activate()
    try:
        yield client
    finally:
        client.deactivate()
        client.close()


@pytest.mark.live
def test_round_trip_on_a_server_and_the_pedal_plays_on() -> None:
    """A cable of 517 frames. JACK adds a block, because the loop of two clients is a circle."""
    arguments = ("--inputs", "cable:out,cable:out", "--outputs", "cable:in")
    with private_pedal(audio_arguments=arguments, connect=True) as pedal, cable(517) as client:
        wait_for_room(pedal)

        def connections() -> list[set[str]]:
            ports = (client.get_all_connections(f"cable:{end}") for end in ("in", "out"))
            return [{port.name for port in each} for each in ports]

        before = [{"nverb:output_1"}, {"nverb:input_1", "nverb:input_2"}]
        wait_until(lambda: connections() == before, tend=pedal.tend, told=connections)
        found = measure("cable:in", "cable:out")
        assert abs(found.round_trip_frames - 517 - 128) < 0.1
        assert abs(found.gain_db) < 0.1 and not found.inverted
        assert found.block_frames == 128
        wait_until(lambda: connections() == before, tend=pedal.tend)
        assert not ask({"do": "status"})["status"]["ports"]["faults"]
        client.disconnect("nverb:output_1", "cable:in")
        with pytest.raises(UserError, match="nothing comes back"):
            measure("system:playback_1", "system:capture_1")
        set_controls(pedal, mix=0)
        assert np.abs(take(pedal, sine(0.5)[:, :1].repeat(2, 1))).max() > 0.1


@pytest.mark.live
def test_bench_without_server_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nverb-nobody")
    done = subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", "bench", "latency"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 1 and "nverb run" in done.stderr.splitlines()[-1]
