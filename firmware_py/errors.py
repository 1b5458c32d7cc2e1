"""The errors that a person sees: one line, what was wrong, where, and what to do."""

from __future__ import annotations


class UserError(Exception):
    """Printed by `nverb` as one line on stderr; the exit status is `status`. Never a traceback."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
