"""Scenes A and B of a preset, and what is between them.

| control            | at the share s of the way from a to b                             |
|--------------------|-------------------------------------------------------------------|
| in dB              | a + s * (b - a)                                                   |
| in ms, Hz, x       | a^(1 - s) * b^s: by ratio; from or to 0 along the knob's travel   |
| others             | along the knob's travel: x, y and z linear through latent space   |
"""

from __future__ import annotations

from collections.abc import Mapping

from device.controls import CONTROLS, NOT_KEPT, Control, find, to_position, to_value

MORPHED = tuple(
    control.name
    for control in CONTROLS
    if control.law not in ("steps", "switch")
    and control.name not in (*NOT_KEPT, "morph", "morph_glide_s")
)
"""Controls that may differ between the scenes. Switches and choices are common to both."""
BY_RATIO = ("ms", "Hz", "x")
"""Units of times, frequencies and factors."""


def between(control: Control, a: float, b: float, share: float) -> float:
    """The value at `share` (0..1) of the way from `a` to `b`; exactly these at the ends."""
    if share <= 0 or a == b:
        return a
    if share >= 1:
        return b
    if control.unit == "dB":
        value = a + share * (b - a)
    elif control.unit in BY_RATIO and a > 0 and b > 0:
        value = a ** (1 - share) * b**share  # b / a may be beyond the range of floats
    else:
        start, end = to_position(control, a), to_position(control, b)
        value = to_value(control, start + share * (end - start))
    return min(max(value, control.minimum), control.maximum)


def blend(a: Mapping[str, float], b: Mapping[str, float], morph: float) -> dict[str, float]:
    """The values of the controls of `b` at this value of the control `morph`."""
    return {name: between(find(name), a[name], value, morph / 100) for name, value in b.items()}
