"""IRs in the files of measuring programs: SOFA (AES69) and MATLAB's .mat. Desktop only: the studio
packages read them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.errors import InvalidValue, first_line
from models.packages import studio_import
from models.reading import open_regular

Floats = NDArray[np.float32]

SOFA_START, MAT_START = b"\x89HDF\r\n\x1a\n", b"MATLAB "
RATE_NAMES = ("fs", "rate", "samplerate", "samplingrate", "sample_rate", "sr")
MAX_CHANNELS = 64


def is_measured(path: Path) -> bool:
    """Whether the file is a SOFA or a MATLAB file, by its first bytes. Raises OSError."""
    with open(open_regular(path), "rb") as file:
        return file.read(8).startswith((SOFA_START, MAT_START))


def read_measured(path: Path) -> tuple[Floats, int, tuple[str, ...]]:
    """Samples (channels, frames), their rate in Hz, and notes.

    Raises InvalidValue for a file without an IR, ImportError without the packages, OSError.
    """
    with open(open_regular(path), "rb") as file:
        start = file.read(16)
    try:
        return _sofa(path) if start.startswith(SOFA_START) else _mat(path, start)
    except (ImportError, InvalidValue):
        raise
    except Exception as error:  # the libraries raise all kinds of exceptions on a bad file
        what = (isinstance(error, OSError) and error.strerror) or first_line(error)
        raise InvalidValue(
            f"{path}: cannot be read ({what}); copy it again, or export a WAV file"
        ) from None


def _sofa(path: Path) -> tuple[Floats, int, tuple[str, ...]]:
    sofar = studio_import("sofar")
    with TemporaryDirectory() as folder:
        named = Path(folder, "room.sofa")  # the library wants this ending
        named.symlink_to(path.resolve())
        file = sofar.read_sofa(str(named), verify=False, verbose=False)
    data = getattr(file, "Data_IR", None)
    if data is None:
        raise InvalidValue(f"{path}: has no impulse responses (Data.IR), only other data")
    data = np.asarray(data, np.float32)
    measurements = data.shape[0] if data.ndim > 2 else 1
    if data.ndim > 2:  # measurements, receivers, samples, in FIR-E also emitters at the end
        data = data[0]
    if data.ndim > 2:
        # From two loudspeakers to two microphones: true stereo. Otherwise one loudspeaker's room.
        emitters = data.shape[-1] if data.shape[0] == data.shape[-1] == 2 else 1
        data = np.moveaxis(data, -1, 0)[:emitters]
    data = data.reshape(-1, data.shape[-1])[:MAX_CHANNELS]
    rate_hz = round(float(np.ravel(file.Data_SamplingRate)[0]))
    notes = (f"{path}: the first of {measurements} measurements",) if measurements > 1 else ()
    return np.ascontiguousarray(data), rate_hz, notes


def _mat(path: Path, start: bytes) -> tuple[Floats, int, tuple[str, ...]]:
    found: dict[str, Any]
    if start.startswith(b"MATLAB 7.3"):
        with studio_import("h5py").File(path, "r") as file:
            found = {
                name: np.asarray(value).T for name, value in file.items() if hasattr(value, "shape")
            }
    else:
        found = studio_import("scipy.io").loadmat(str(path))
    numbers = {
        name: np.asarray(value)
        for name, value in found.items()
        if not name.startswith("__") and np.asarray(value).dtype.kind in "fiu"
    }
    rates = [v for name, v in numbers.items() if name.lower() in RATE_NAMES and v.size == 1]
    sounds = {name: v for name, v in numbers.items() if v.size > 1 and v.ndim <= 2}
    if not sounds or not rates:
        raise InvalidValue(
            f"{path}: has no {'sampling rate (a variable fs)' if sounds else 'impulse response'}; "
            "save the IR and fs, or export a WAV file"
        )
    name, sound = max(sounds.items(), key=lambda item: item[1].size)
    sound = np.atleast_2d(np.asarray(sound, np.float32))
    if sound.shape[0] > sound.shape[1]:
        sound = sound.T
    note = f"{path}: variable {name}, {len(sound)} channels"
    return np.ascontiguousarray(sound[:MAX_CHANNELS]), round(float(rates[0].ravel()[0])), (note,)
