"""Errors that a user can fix. All packages import this module, so each may raise them.

A command prints such an error as one line and exits with its status. Any other exception is a bug,
and its traceback is logged.
"""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """One line: what is wrong, where, and what to do. `status`: the exit status of the command."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class InvalidValue(UserError, ValueError):
    """A value from the user is invalid."""


def did_you_mean(name: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> str:
    """A hint for an unknown name: up to `count` known names like it, or all known names if none is.

    cutoff: similarity from 0 to 1, see difflib.
    """
    import difflib  # not in the audio process, which imports this module

    known = list(known)
    near = difflib.get_close_matches(name[:64], known, n=count, cutoff=cutoff)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"


def reason(error: BaseException) -> str:
    """The error in one line; for an OSError the file and the text without the number."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename is not None else ""
        return f"{name}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 160 characters; its type's name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
