"""What went wrong in a measurement, and what to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from firmware_py.measure.result import Measured

SHORT_DB = 3.0
DISTORTED = 0.03
SILENT_DB = 25.0
"""A path of less range than this heard nothing."""
SIDES_DB = 6.0


def remarks(measured: Measured, wanted_db: float) -> Measured:
    """The measurement with its remarks."""
    found = list(measured.remarks)
    for path in measured.paths:
        take, name = path.take, f"input {path.input + 1}"
        if take.range_db < SILENT_DB:
            found.append(f"{name} hears nothing of output {path.output + 1}: is it connected?")
        elif take.range_db < wanted_db - SHORT_DB:
            found.append(
                f"{name}: range {take.range_db:.0f} dB of {wanted_db:.0f} dB: louder, a longer "
                "sweep (--length), or less noise"
            )
        if take.hum is not None:
            found.append(
                f"{name}: hum of {take.hum.mains_hz:.0f} Hz, {take.hum.level_db:.0f} dB under the "
                "sweep; removed. Move cables and microphone from transformers, lift the ground"
            )
        if take.distortion.thd > DISTORTED and take.distortion.floor < take.distortion.thd / 4:
            found.append(
                f"{name}: {100 * take.distortion.thd:.1f} % distortion; it is not in the response, "
                "but turn down what distorts"
            )
    if _is_swapped(measured):
        found.append("left and right seem to be exchanged: check the cables")
    return replace(measured, remarks=tuple(dict.fromkeys(found)))


def _is_swapped(measured: Measured) -> bool:
    """Whether each output is heard louder by the other side's input."""
    if len(measured.samples) != 4:
        return False
    energy = np.einsum("ct,ct->c", measured.samples, measured.samples, dtype=np.float64)
    across = min(energy[1], energy[2]) / max(energy[0], energy[3], 1e-30)
    return bool(10 * np.log10(max(across, 1e-30)) > SIDES_DB)
