"""Figures of a faithful bank: its size, its peaks, and ten waveforms against librosa's Griffin-Lim.

Usage: .venv/bin/python tests/bank/faithful_figures.py BANK MODEL, after `make studio` and
`nverb bank build --model MODEL --faithful -o BANK`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import librosa
import numpy as np
from numpy.typing import NDArray

from bank.build import decoder_of
from bank.faithful import pair_pictures
from bank.format import Bank
from bank.griffin_lim import TAPS
from dsp.synthesis import FAITHFUL_PEAK
from models.reference import HOP, WINDOW

Floats = NDArray[np.float32]
COMPARED = 10


def librosas(picture: Floats, db_range: float, iterations: int, seed: int) -> Floats:
    """What librosa makes of a spectrogram: float32 (TAPS,), with the plug-in's peak."""
    magnitude = (10.0 ** ((picture.astype(np.float64) - 1.0) * db_range / 20.0)).astype(np.float32)
    sound = librosa.griffinlim(
        magnitude,
        n_iter=iterations,
        hop_length=HOP,
        n_fft=WINDOW,
        momentum=0.0,
        init="random",
        random_state=seed,
        length=TAPS,
        pad_mode="reflect",
    )
    return np.asarray(sound * (FAITHFUL_PEAK / np.abs(sound).max()), np.float32)


def difference_db(ours: Floats, theirs: Floats) -> float:
    """The energy of the difference against theirs."""
    return float(20 * np.log10(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)))


def main(bank_path: Path, model_path: Path) -> None:
    bank = Bank.open(bank_path)
    bank.verify()
    peaks = [float(np.abs(waveform.samples).max()) for waveform in bank.waveforms]
    print(f"{len(peaks)} waveforms, {bank_path.stat().st_size} bytes")
    print(f"peaks {min(peaks):.6f} to {max(peaks):.6f}")
    iterations = int(re.findall(r"(\d+) iterations", bank.comment)[0])
    decoder = decoder_of(model_path.read_bytes())
    for number in np.linspace(0, len(peaks) // 2 - 1, COMPARED, dtype=int):
        left = bank.waveforms[2 * number]
        picture, seed = pair_pictures(decoder, int(number), left.at)[0]
        theirs = librosas(picture, decoder.description.db_range, iterations, seed)
        print(f"{left.name}: {difference_db(left.samples[0], theirs):.1f} dB of librosa's")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
