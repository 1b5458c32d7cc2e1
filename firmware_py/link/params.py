"""Engine parameters from control values."""

from __future__ import annotations

from device.controls import CONTROLS
from device.tempo import predelay_ms


def engine_params(values: dict[str, float]) -> dict[str, float]:
    """Engine parameters by name, from control values in the units of the controls."""
    params = {c.param: values[c.name] / (100 if c.unit == "%" else 1) for c in CONTROLS if c.param}
    return params | {"predelay_ms": predelay_ms(values)}
