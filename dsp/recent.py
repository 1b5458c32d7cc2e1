"""A cache of the most recently used values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Keeps the `size` most recently used values. Not thread-safe.

    functools.lru_cache around a method refers to the method's object, which refers to the cache:
    that cycle keeps the object's arrays until the garbage collector runs. This cache refers only to
    its values.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[Key, Value] = {}  # the most recently used last

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of `key`; `make` returns it if it is not kept."""
        value = self._values.pop(key) if key in self._values else make()
        self._values[key] = value
        if len(self._values) > self._size:
            del self._values[next(iter(self._values))]
        return value
