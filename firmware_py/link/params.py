"""Control values as the engine's parameters."""

from __future__ import annotations


def engine_params(values: dict[str, float]) -> list[float]:
    """The port's parameters, in its order, from values of controls."""
    named = {
        "gain_db": values["gain"],
        "mix": values["mix"] / 100,
        "predelay_ms": values["predelay"],
        "lowpass_on": values["lowpass"],
        "lowpass_hz": values["lowpass_hz"],
        "highpass_on": values["highpass"],
        "highpass_hz": values["highpass_hz"],
        "bypass": values["bypass"],
        "trails": values["trails"],
        "limiter_on": values["limiter"],
        "fade_ms": values["fade"],
    }
    from dsp._engine import PARAMS

    return [named[name] for name in PARAMS]
