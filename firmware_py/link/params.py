"""Control values as the engine's parameters."""

from __future__ import annotations

from device.controls import CONTROLS


def engine_params(values: dict[str, float]) -> dict[str, float]:
    """The engine's parameters by name, from values of controls."""
    return {c.param: values[c.name] / (100 if c.unit == "%" else 1) for c in CONTROLS if c.param}
