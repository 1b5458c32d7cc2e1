"""The calibrated ends of the knobs, kept in the data folder by `nverb board calibrate`."""

from __future__ import annotations

from pathlib import Path

from device.profile import ProfileError
from dsp.errors import reason
from models.reading import json_table, read_file

CALIBRATION = "calibration.json"
"""In the data folder: {profile: {control: [low, high]}}, fractions of the converter's range."""


def read_calibrations(folder: Path) -> dict[str, dict[str, list[float]]]:
    """All calibrations, {} without a file. Raises ProfileError if the file is invalid."""
    path = folder / CALIBRATION
    try:
        table = json_table(read_file(path, 65_536), str(path))
        for profile in table.values():
            for low, high in profile.values():
                if not 0 <= low < high <= 1:
                    raise ValueError
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise ProfileError(
            f"{path}: invalid calibration: delete it, then run nverb board calibrate"
        ) from None
    return table


def load_calibration(
    folder: Path | None, profile: str
) -> tuple[dict[str, tuple[float, float]], str | None]:
    """The ends by control for this profile, and what is wrong with the file, if anything."""
    if folder is None:
        return {}, None
    try:
        rows = read_calibrations(folder).get(profile, {})
    except (OSError, ProfileError) as error:
        return {}, f"{reason(error)}; until then the profile's ends apply"
    return {name: (low, high) for name, (low, high) in rows.items()}, None
