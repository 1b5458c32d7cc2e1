"""The port: validation, slots, locked memory, and two threads under ThreadSanitizer."""

from __future__ import annotations

import ast
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from waiting import HANG_S

from dsp import _engine

DSP = Path(__file__).parents[2] / "dsp"


def new_port(max_taps: int = 2000, inputs: int = 2) -> tuple[mmap.mmap, _engine.Port]:
    layout = _engine.plan(64, max_taps, inputs)
    memory = mmap.mmap(-1, _engine.port_bytes(layout))
    return memory, _engine.Port(memory, layout=layout, rate_hz=48000)


def test_second_opener_sees_same_port() -> None:
    memory, port = new_port()
    values = {name: float(i) for i, name in enumerate(_engine.PARAMS)}
    port.set_params(values)
    port.load_ir(np.ones((2, 10), np.float32), room=7)
    other = _engine.Port(memory)
    assert other.params() == values
    assert (other.rate_hz, other.block_frames, other.inputs, other.max_taps) == (48000, 64, 2, 2000)
    assert other.newest_room() == 7
    assert other.layout == port.layout


@pytest.mark.parametrize(
    ("ir", "what"),
    [
        (np.zeros((2, 0)), "tap"),
        (np.zeros((2, 2001)), "tap"),
        (np.zeros((3, 10)), "channel"),
        (np.zeros((40, 10)), "channel"),
        (np.full((2, 10), np.nan), "finite|NaN"),
        (np.full((2, 10), np.inf), "finite|NaN"),
    ],
)
def test_load_ir_rejects_bad_irs_and_keeps_last(ir: np.ndarray, what: str) -> None:
    _, port = new_port()
    port.load_ir(np.ones((2, 10), np.float32), room=7)
    for _ in range(10):
        with pytest.raises(ValueError, match=what):
            port.load_ir(ir.astype(np.float32))
    assert port.newest_room() == 7
    assert port.load_ir(np.ones((2, 10), np.float32), room=8)


@pytest.mark.parametrize(
    "wrong", [np.ones((2, 10)), np.ones(10, np.float32), np.ones((10, 2), np.float32).T, "text"]
)
def test_load_ir_rejects_other_arrays(wrong: object) -> None:
    _, port = new_port()
    with pytest.raises((TypeError, ValueError, BufferError)):
        port.load_ir(wrong)  # type: ignore[arg-type]


def test_set_params_rejects_incomplete_unknown_and_nonfinite() -> None:
    _, port = new_port()
    good = dict.fromkeys(_engine.PARAMS, 0.0)
    with pytest.raises(ValueError, match="parameter mix is missing"):
        port.set_params({name: value for name, value in good.items() if name != "mix"})
    with pytest.raises(ValueError, match="no parameter 'mixture'"):
        port.set_params(good | {"mixture": 0.0})
    with pytest.raises(ValueError, match="parameter mix is not finite"):
        port.set_params(good | {"mix": float("nan")})
    with pytest.raises(TypeError, match="dict"):
        port.set_params([0.0])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Meters", "Param"])
def test_stub_declares_the_fields_of_the_extension(name: str) -> None:
    stub = ast.parse((DSP / "_engine.pyi").read_text())
    (declared,) = [
        node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == name
    ]
    fields = [ast.unparse(node.target) for node in declared.body if isinstance(node, ast.AnnAssign)]
    assert getattr(_engine, name)._fields == tuple(fields)


def test_new_port_has_default_parameters() -> None:
    _, port = new_port()
    params = port.params()
    assert params is not None
    assert params == pytest.approx({name: param.default for name, param in _engine.PARAMS.items()})
    assert params["mix"] == 0


def test_damaged_port_is_rejected_or_harmless() -> None:
    """2 000 ports with up to eight changed header bytes: opened or rejected, no crash, no size
    beyond the memory."""
    memory, port = new_port()
    port.load_ir(np.ones((2, 10), np.float32))
    good = memory[:4096]
    chance = random.Random(1)
    rejected = 0
    for _ in range(2000):
        memory[:4096] = good
        for _ in range(chance.randint(1, 8)):
            memory[chance.randrange(0, 256)] = chance.randrange(256)
        try:
            opened = _engine.Port(memory)
        except ValueError:
            rejected += 1
            continue
        assert _engine.port_bytes(opened.layout) <= len(memory) or opened.max_taps <= 2000
    assert rejected > 1000
    with pytest.raises(ValueError):
        _engine.Port(memory[:64].ljust(4096) and mmap.mmap(-1, 4096))


BLOCK, LONGEST, SLOTS = 64, 96000, 8


@pytest.fixture
def file_in_memory() -> Iterator[int]:
    """A file whose untouched pages use no memory, like the mailbox."""
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        yield file.fileno()


def taken_mib(descriptor: int) -> float:
    return os.fstat(descriptor).st_blocks * 512 / 2**20


class Played:
    """A port in a file with an engine, in the order of the audio process: create, lock, play."""

    def __init__(self, descriptor: int, *, create: bool = True) -> None:
        layout = _engine.plan(BLOCK, LONGEST)
        if create:
            os.ftruncate(descriptor, _engine.port_bytes(layout))
            self.port = _engine.Port(mmap.mmap(descriptor, 0), layout=layout, rate_hz=48000)
        else:
            self.port = _engine.Port(mmap.mmap(descriptor, 0))
        self.port.set_params(dict.fromkeys(_engine.PARAMS, 0.0) | {"fade_ms": 1.0})
        self.port.lock_memory()
        buffers = [[np.zeros(BLOCK, np.float32) for _ in range(2)] for _ in range(5)]
        self._engine = _engine.Engine(self.port, *buffers)

    def play(self, blocks: int = 400) -> int:
        """Plays `blocks` blocks. Returns the serial of the playing IR."""
        for _ in range(blocks):
            self._engine.begin(), self._engine.process(), self._engine.finish()
        return int(self.port.meters().playing_serial)

    def check(self) -> None:
        """One check of the main thread; returns after it, because no blocks arrive."""
        self.port.watch([signal.SIGUSR1], 60.0)


def noise(channels: int, taps: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((channels, taps)).astype(np.float32)


def test_port_uses_memory_only_for_rooms_played(file_in_memory: int) -> None:
    played = Played(file_in_memory)
    whole = os.fstat(file_in_memory).st_size / 2**20
    assert taken_mib(file_in_memory) < 0.3 * whole
    for _ in range(4):
        assert played.play() == played.port.load_ir(noise(2, LONGEST // 3)) - 1
    assert played.play() == 4
    assert taken_mib(file_in_memory) < 0.3 * whole


def test_longer_room_waits_until_locked(file_in_memory: int) -> None:
    played = Played(file_in_memory)
    first = played.port.load_ir(noise(2, 1000))
    assert played.play() == first
    locked = played.port.locked_bytes
    longest = played.port.load_ir(noise(4, LONGEST))
    assert played.play() == first
    assert played.port.locked_bytes == locked
    played.check()
    assert played.port.locked_bytes > 3 * locked
    assert taken_mib(file_in_memory) > 0.99 * os.fstat(file_in_memory).st_size / 2**20
    assert played.play() == longest
    for _ in range(3):  # all slots are locked completely now: nothing waits
        longest = played.port.load_ir(noise(4, LONGEST))
        assert played.play() == longest


def test_control_replaces_waiting_room(file_in_memory: int) -> None:
    played = Played(file_in_memory)
    first = played.port.load_ir(noise(2, 1000))
    assert played.play() == first
    for _ in range(5):
        played.port.load_ir(noise(4, LONGEST))
        assert played.play(3) == first
    newest = played.port.load_ir(noise(2, 1000))
    assert played.play() == newest


def test_restarted_audio_process_locks_memory_of_its_room(file_in_memory: int) -> None:
    played = Played(file_in_memory)
    long = played.port.load_ir(noise(4, LONGEST // 2))
    played.check()
    assert played.play() == long
    port = _engine.Port(mmap.mmap(file_in_memory, 0))
    port.load_ir(noise(2, 500))
    port.lock_memory()
    assert port.locked_bytes > 0.4 * (os.fstat(file_in_memory).st_size - 4096) / SLOTS


KILLED = """
import os, signal, sys
from test_port import LONGEST, Played, noise
played = Played(int(sys.argv[1]))
for number in range(5):  # each rings for 0.7 s; within 0.4 s
    assert played.play(60) == number
    played.port.load_ir(noise(2, LONGEST // 3))
played.play(int(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("blocks", [0, 1, 60])
def test_audio_process_killed_with_several_rooms_starts_with_the_newest(
    file_in_memory: int, blocks: int
) -> None:
    """What rang is lost; the newest room plays, and all other slots can be used again."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(file_in_memory), str(blocks)],
        check=False,
        pass_fds=[file_in_memory],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=HANG_S,
    )
    assert done.returncode == -signal.SIGKILL
    again = Played(file_in_memory, create=False)
    assert again.play() == 5
    for number in range(6, 6 + 2 * SLOTS):
        assert again.port.load_ir(noise(2, 1000)) == number
        assert again.play() == number


def test_full_file_system_raises_memory_error_and_keeps_playing(file_in_memory: int) -> None:
    """A truncated file acts like a full file system: its missing pages cannot be allocated, and
    touching them raises SIGBUS."""
    played = Played(file_in_memory)
    first = played.port.load_ir(noise(2, 1000))
    assert played.play() == first
    os.ftruncate(file_in_memory, os.fstat(file_in_memory).st_size // 4096 * 4096 - 4096)
    for _ in range(3):
        with pytest.raises(MemoryError):  # in the last slot; the others still have pages
            for _ in range(SLOTS):
                played.port.load_ir(noise(4, LONGEST))
                played.check()
        assert played.play() >= first
    played.port.lock_memory()


def test_private_memory_counts_as_locked() -> None:
    _, port = new_port()
    whole = _engine.port_bytes(port.layout)
    assert SLOTS * port.locked_bytes <= whole <= SLOTS * port.locked_bytes + 4096 + SLOTS * 4096


def test_port_is_free_of_data_races(tmp_path: Path) -> None:
    program = tmp_path / "port_stress"
    sources = [DSP / "port.c", DSP / "reblock.c", *sorted(DSP.glob("kernel*.c"))]
    subprocess.run(
        [
            "gcc",
            "-std=gnu11",
            "-O1",
            "-g1",
            "-fsanitize=thread",
            "-DNV_BASELINE_ONLY",
            f"-I{DSP}",
            "-o",
            program,
            Path(__file__).with_name("port_stress.c"),
            *sources,
            "-lm",
            "-lpthread",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    done = subprocess.run(
        ["setarch", "-R", program], check=False, capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr[:4000]
