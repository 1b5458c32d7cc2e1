"""Writes sound files atomically, in any format that libsndfile writes."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from dsp.errors import InvalidValue
from models.files import write_atomically

if TYPE_CHECKING:
    import soundfile


def sound_format(path: Path) -> tuple[str, str]:
    """Format and sample format for a file's name, in libsndfile's terms. Raises InvalidValue."""
    import soundfile

    extension = path.suffix[1:].upper()
    subtype = (
        soundfile.default_subtype(extension) if extension in soundfile.available_formats() else None
    )
    if subtype is None:
        raise InvalidValue(f"{path}: choose a name that ends in .wav or .flac")
    return extension, "FLOAT" if extension == "WAV" else subtype


def check_sound(path: Path, rate_hz: int, channels: int) -> None:
    """Raises InvalidValue unless `write_sound` can write such a sound: before a long task."""
    import soundfile

    extension, subtype = sound_format(path)
    try:
        with soundfile.SoundFile(
            io.BytesIO(), "w", rate_hz, channels, subtype=subtype, format=extension
        ) as sink:
            sink.write(np.zeros((1, channels), np.float32))
    except soundfile.LibsndfileError as error:
        raise _unfit(path, error) from None


def write_sound(
    path: Path,
    rate_hz: int,
    channels: int,
    write: Callable[[soundfile.SoundFile], object],
    *,
    subtype: str | None = None,
    durable: bool = True,
) -> None:
    """Replace `path` atomically by the sound that `write` writes to the open file it is given.

    Raises InvalidValue for a format that is unknown or cannot hold the sound, OSError; the old file
    stays unchanged then.
    """
    import soundfile

    extension, usual = sound_format(path)
    lost: list[BaseException] = []

    def through(file: BinaryIO) -> None:
        # libsndfile writes through a callback. An exception there (full disk, Ctrl-C) cannot pass
        # through C, so it is caught and raised again below.
        before, sys.unraisablehook = (
            sys.unraisablehook,
            lambda what: lost.append(what.exc_value or OSError(path)),
        )
        try:
            with soundfile.SoundFile(
                file, "w", rate_hz, channels, subtype=subtype or usual, format=extension
            ) as sink:
                write(sink)
        except soundfile.LibsndfileError as error:
            if not lost:
                raise _unfit(path, error) from None
        except AssertionError:  # soundfile wrote fewer frames than it was given
            if not lost:
                raise
        finally:
            sys.unraisablehook = before
        if lost:
            raise lost[0]

    write_atomically(path, through, durable=durable)


def _unfit(path: Path, error: soundfile.LibsndfileError) -> InvalidValue:
    return InvalidValue(f"{path}: {error.error_string.strip().rstrip('.')}; choose .wav")
