"""Print results of nverb on this platform as JSON.

Run by the target's Python under qemu-user, and by this machine's Python for comparison.

python probe.py    -> {"machine": ..., "decoder": ..., "bank_ir": ..., "kernel_db": ..., ...}
"""

from __future__ import annotations

import base64
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np

POINTS = [
    (-2.0, -2.0, -2.0),
    (2.0, 2.0, 2.0),
    (0.0, 0.0, 0.0),
    (-1.31, 0.77, 1.62),
    (1.9, -0.4, -1.05),
]
BLOCK, RATE_HZ = 128, 48000


def packed(array: object) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def bank() -> dict[str, str]:
    from bank.format import Bank
    from models.decoder import SHIPPED

    source = Bank.open(SHIPPED / "rooms.nvbank")
    return {str(point): packed(source.energy_map(*point).level_db) for point in POINTS}


def decoder() -> tuple[dict[str, str] | None, str]:
    """Energy maps of the decoder, and warnings. If it cannot run the maps are None."""
    from firmware_py.rooms.source import find_source
    from models.decoder import Decoder

    said: list[str] = []
    source = find_source(say=said.append)
    if not isinstance(source, Decoder):
        return None, " / ".join(said)
    return {str(point): packed(source.energy_map(*point).level_db) for point in POINTS}, ""


def room_ir() -> str:
    """The IR at a place between the grid points of the bank, from the decoder if it runs here."""
    from dsp.synthesis import Synthesiser
    from firmware_py.rooms.source import find_source

    return packed(Synthesiser(RATE_HZ)(find_source(say=lambda _: None).energy_map(0.5, -0.5, 1.0)))


def bank_ir() -> str:
    from bank.format import Bank
    from dsp.synthesis import Synthesiser
    from models.decoder import SHIPPED

    return packed(
        Synthesiser(RATE_HZ)(Bank.open(SHIPPED / "rooms.nvbank").energy_map(0.5, -0.5, 1.0))
    )


def resampled() -> str:
    """A recording of 44.1 kHz, resampled to the engine's rate by this platform's soxr."""
    from bank.recording import at_rate

    click = np.zeros((2, 441), np.float32)
    click[:, 100] = 1.0, -0.5
    return packed(at_rate(click, 44100, RATE_HZ))


def kernel_db() -> float:
    """Error of the graph (pyo, engine, kernel) relative to the peak, in dB.

    The reference is a convolution in float64.
    """
    from device.controls import defaults
    from dsp.graph import OfflineGraph
    from firmware_py.link.params import engine_params

    chance = np.random.default_rng(7)
    impulse = np.ascontiguousarray(
        chance.standard_normal((2, 12000)) * np.exp(-np.arange(12000) / 3000), np.float32
    )
    impulse *= np.float32(0.01)
    signal = (0.1 * chance.standard_normal((16384, 2))).astype(np.float32)
    graph = OfflineGraph(
        rate_hz=RATE_HZ, block_frames=BLOCK, max_taps=impulse.shape[1], inputs=2, ir_channels=2
    )
    values = defaults() | {"gain": 0.0, "mix": 100.0, "limiter": 0.0, "predelay": 0.0}
    graph.port.set_params(engine_params(values))
    graph.port.load_ir(impulse)
    graph.start()
    out = np.concatenate(
        [graph.process(signal[at : at + BLOCK]).copy() for at in range(0, len(signal), BLOCK)]
    )
    graph.close()
    worst = 0.0
    for side in range(2):
        size = 1 << 15
        wanted = np.fft.irfft(
            np.fft.rfft(signal[:, side].astype(np.float64), size)
            * np.fft.rfft(impulse[side].astype(np.float64), size),
            size,
        )[: len(signal)]
        worst = max(worst, float(np.abs(out[:, side] - wanted).max() / np.abs(wanted).max()))
    return 20 * float(np.log10(max(worst, 1e-12)))


def simd() -> str:
    from dsp import _engine

    return _engine.simd()


def main() -> None:
    import importlib.metadata

    files = importlib.metadata.files("nverb") or []
    begun = time.perf_counter()
    decoded, said = decoder()
    print(
        json.dumps(
            {
                "machine": platform.machine(),
                "python": platform.python_version(),
                "numpy": np.__version__,
                "soxr": importlib.metadata.version("soxr"),
                "runtime": next((n for n in ("ai_edge_litert", "tflite_runtime") if _there(n)), ""),
                "files": sorted(
                    str(file) for file in files if Path(str(file)).suffix not in (".pyc", "")
                ),
                "bank": bank(),
                "decoder": decoded,
                "said": said,
                "bank_ir": bank_ir(),
                "room_ir": room_ir(),
                "resampled": resampled(),
                "kernel_db": kernel_db(),
                "simd": simd(),
                "seconds": time.perf_counter() - begun,
            }
        )
    )
    sys.stdout.flush()


def _there(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


if __name__ == "__main__":
    main()
