"""Block times of our kernel and its peers in Python.

`python -m firmware_py.bench.peers NAME BLOCK PACED` prints median, 99.9th percentile
and maximum of the time of a block, and its processor time, in us. `nverb bench kernel` runs one
process for each peer.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from firmware_py.bench.kernel_figures import FADE_FRAMES, TAPS
from firmware_py.jack.defaults import RATE_HZ

SECONDS = 2.0


def make_ir() -> np.ndarray:
    noise = np.random.default_rng(1).uniform(-0.02, 0.02, (2, TAPS))
    return (noise * np.exp(-6.9 * np.arange(TAPS) / TAPS)).astype(np.float32)


def nverb(block: int) -> Callable[[], object]:
    from dsp import _engine

    kernel = _engine.Kernel(_engine.plan(block, TAPS, 2), FADE_FRAMES)
    kernel.load(make_ir())
    frames = TAPS // block * block + block  # until the room has the input of its complete length
    kernel.process(np.zeros((2, frames), np.float32), np.empty((2, frames), np.float32))
    sound, out = np.full((2, block), 0.1, np.float32), np.empty((2, block), np.float32)
    return lambda: kernel.process(sound, out)


def numpy(block: int) -> Callable[[], object]:
    """Uniform partitions, bins first, one batched matrix product over all partitions.

    The fastest of three implementations in NumPy.
    """
    ir = make_ir()
    partitions = -(-TAPS // block)
    padded = np.zeros((2, partitions * block), np.float32)
    padded[:, :TAPS] = ir
    spectra = np.fft.rfft(padded.reshape(2, partitions, block), 2 * block).astype(np.complex64)
    filters = np.ascontiguousarray(spectra.transpose(0, 2, 1))[:, :, None, :]
    # Each spectrum is stored twice, so no wraparound.
    line = np.zeros((2, block + 1, 2 * partitions), np.complex64)
    frame = np.full((2, 2 * block), 0.1, np.float32)
    at = 0

    def process() -> object:
        nonlocal at
        frame[:, :block] = frame[:, block:]
        at = (at - 1) % partitions
        line[:, :, at] = line[:, :, at + partitions] = np.fft.rfft(frame)
        product = np.matmul(filters, line[:, :, at : at + partitions, None])[:, :, 0, 0]
        return np.fft.irfft(product)[:, block:].astype(np.float32)

    return process


def pedalboard(block: int) -> Callable[[], object]:
    import pedalboard as board

    convolution = board.Convolution(make_ir(), 1.0, RATE_HZ)  # type: ignore[arg-type,unused-ignore]
    sound = np.full((2, block), 0.1, np.float32)
    return lambda: convolution.process(sound, RATE_HZ, buffer_size=block, reset=False)


def pyo(block: int) -> Callable[[], object]:
    """CvlVerb with partitions of one block, in a server without a sound card."""
    os.environ["PYO_GUI_WX"] = "0"
    import pyo as library
    import soundfile

    server = library.Server(
        sr=RATE_HZ, nchnls=2, ichnls=2, buffersize=block, duplex=1, audio="manual", verbosity=0
    )
    server.boot()
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file.name, make_ir().T, RATE_HZ, subtype="FLOAT")
        verb = library.CvlVerb(
            library.Noise(mul=[0.1, 0.1]), impulse=file.name, size=block, bal=1
        ).out()
    server.start()

    def process(_: object = verb) -> object:
        return server.process()

    return process


PEERS = {"nverb": nverb, "numpy": numpy, "pedalboard": pedalboard, "pyo": pyo}


def main(name: str, block: int, paced: bool) -> None:
    process = PEERS[name](block)
    for _ in range(50):
        process()
    blocks, taken = int(SECONDS * RATE_HZ / block), []
    start, cpu = time.perf_counter(), time.process_time()
    for i in range(blocks):
        if paced:
            time.sleep(max(0.0, start + i * block / RATE_HZ - time.perf_counter()))
        elif time.perf_counter() - start > 2 * SECONDS:
            break  # slower than real time
        began = time.perf_counter()
        process()
        taken.append(1e6 * (time.perf_counter() - began))
    figures = (np.median(taken), np.quantile(taken, 0.999), max(taken))
    cpu_us = 1e6 * (time.process_time() - cpu) / len(taken)
    print(*(f"{figure:.3f}" for figure in (*figures, cpu_us)), flush=True)
    os._exit(0)  # do not wait for pyo's threads


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1")
