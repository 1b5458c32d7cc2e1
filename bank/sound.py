"""Writing sound files: whole or not at all, in any format that libsndfile writes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dsp.errors import InvalidValue
from models.files import write_atomically

if TYPE_CHECKING:
    import soundfile


def sound_format(path: Path) -> tuple[str, str]:
    """Format and sample format that a file's name asks for, as libsndfile calls them. Raises InvalidValue."""
    import soundfile

    extension = path.suffix[1:].upper()
    subtype = (
        soundfile.default_subtype(extension) if extension in soundfile.available_formats() else None
    )
    if subtype is None:
        raise InvalidValue(f"{path}: choose a name that ends in .wav or .flac")
    return extension, "FLOAT" if extension == "WAV" else subtype


def write_sound(
    path: Path,
    rate_hz: int,
    channels: int,
    write: Callable[[soundfile.SoundFile], object],
    *,
    subtype: str | None = None,
    durable: bool = True,
) -> None:
    """Replaces `path` by the sound that `write` writes to the open file that it is given.

    Raises InvalidValue for a format that is none or does not take the sound, OSError; the old file is then untouched.
    """
    import soundfile

    extension, usual = sound_format(path)
    lost: list[BaseException] = []

    def through(file: BinaryIO) -> None:
        # libsndfile calls back to write. What is raised there, by a full disk or by Ctrl-C, cannot pass through it.
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
                raise InvalidValue(
                    f"{path}: {error.error_string.strip().rstrip('.')}; choose .wav"
                ) from None
        except AssertionError:  # it wrote less than it was given
            if not lost:
                raise
        finally:
            sys.unraisablehook = before
        if lost:
            raise lost[0]

    write_atomically(path, through, durable=durable)
