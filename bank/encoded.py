"""Encodes the recordings of a folder for a bank of rooms: each keeps a place and a residual, some
hundred bytes instead of its samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bank.format import MAX_RESIDUALS, BankError
from bank.found import recordings_in
from bank.placing import apart
from bank.recording import ReadingOptions, at_rate
from models.decoder import Decoder, Encoder
from models.encoding import encode
from models.latent import KNOBS
from models.measures import RATE_HZ
from models.residual import Residual, place_of


def encode_folder(
    folder: Path,
    decoder: Decoder,
    encoder: Encoder,
    *,
    report: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, Residual]]:
    """The encoded rooms of a folder, by name; those at one place are moved apart.

    A bank has no colours, so none are used. `report` gets a line for each file that is left out.
    Raises BankError if no file can be used, OSError.
    """
    if not folder.is_dir():
        raise BankError(f"{folder}: no such folder")
    names: list[str] = []
    residuals: list[Residual] = []
    for found in recordings_in(folder, ReadingOptions(), report=report, progress=progress):
        if found.recording is None:
            continue
        if len(names) == MAX_RESIDUALS:
            report(f"{found.path}: a bank has at most {MAX_RESIDUALS} encoded rooms; left out")
            continue
        samples, rate_hz, _ = found.recording
        loudest = int(np.argmax((samples.astype(np.float64) ** 2).sum(axis=1)))
        ir = at_rate(samples[loudest : loudest + 1], rate_hz, RATE_HZ)[0]
        room = encode(ir, decoder, encoder, latents=KNOBS)
        assert room.residual is not None
        names.append(found.name)
        residuals.append(room.residual)
    if not names:
        raise BankError(f"{folder}: contains no usable recording")
    places, _ = apart([place_of(residual) for residual in residuals])
    return [
        (name, replace(residual, latent=np.array([*place, *residual.latent[KNOBS:]])))
        for name, residual, place in zip(names, residuals, places, strict=True)
    ]
