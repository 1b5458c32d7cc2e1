"""What the steps of container.py raise and print."""

from __future__ import annotations


class Wrong(Exception):
    """A check failed."""


def expect(true: object, what: str) -> None:
    if not true:
        raise Wrong(f"not true: {what}")
    print(f"  ok: {what}", flush=True)
