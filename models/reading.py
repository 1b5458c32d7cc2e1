"""Reads files that come from outside: bounded, regular files only, JSON and TOML with one error.

Two kinds of failure, which a caller must tell apart: an OSError means that the file cannot be read
now, and says nothing about its content; MalformedFile means that the content was read and is wrong.

| bound    | why                                                                       |
|----------|---------------------------------------------------------------------------|
| kind     | a pipe or a device would block the reader, or never end                   |
| size     | the whole file is read into memory                                        |
| depth    | deep nesting exhausts the stack of whoever walks the table                |
| numbers  | of 64 bits and finite: others overflow when they become a float           |
| text     | half a surrogate pair cannot be written again as UTF-8                    |
"""

from __future__ import annotations

import codecs
import math
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dsp.errors import InvalidValue
from dsp.names import shown

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
Table = dict[str, Any]


class MalformedFile(InvalidValue):
    """The content of a file is wrong. The message is one line: where, and what is wrong."""


def open_regular(path: Path, *, follow: bool = True) -> int:
    """Open a regular file for reading, without waiting; return the descriptor. Raises OSError.

    follow: whether the last part of `path` may be a symbolic link.
    """
    name = os.fspath(path)
    require_regular(os.stat(name, follow_symlinks=follow).st_mode, name)  # opening may have effects
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(name, flags if follow else flags | os.O_NOFOLLOW)
    try:
        require_regular(os.fstat(descriptor).st_mode, name)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def require_regular(mode: int, name: str) -> None:
    """Raises OSError unless this is the mode of a regular file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "is a folder, not a file", name)
    if not stat.S_ISREG(mode):
        raise OSError(22, "is a pipe, a device or a link, not a file", name)


def read_file(path: Path, max_bytes: int, *, follow: bool = True) -> bytes:
    """The content of a regular file. Raises OSError, MalformedFile if it is larger."""
    with open(open_regular(path, follow=follow), "rb") as file:
        try:
            data = file.read(max_bytes + 1)
        except OSError as error:
            error.filename = os.fspath(path)
            raise
    if len(data) > max_bytes:
        raise MalformedFile(f"{path}: is larger than {max_bytes} bytes")
    return data


def json_table(data: bytes, where: str, *, text_errors: str = "strict") -> Table:
    """The object of a JSON text in UTF-8, with or without byte order mark. Raises MalformedFile.

    text_errors: "surrogateescape" if texts may be names of files that are not UTF-8.
    """

    import json  # not in the audio process, which reads files, too

    return _table(data, where, json.loads, text_errors)


def toml_table(data: bytes, where: str) -> Table:
    """The table of a TOML text, see `json_table`. Raises MalformedFile; with the faulty line."""
    import tomllib

    def parse(text: str) -> object:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(_with_line(str(error), text)) from None

    return _table(data, where, parse, "strict")


def _with_line(message: str, text: str) -> str:
    """`Invalid value (at line 8, column 8)` with the text of line 8 and what TOML wants."""
    match = re.search(r" \(at line (\d+), column \d+\)$", message)
    lines = text.splitlines()
    if match is None or not 0 < int(match[1]) <= len(lines):
        return message
    what = f"{message[0].lower()}{message[1 : match.start()]}"
    line = shown(lines[int(match[1]) - 1].strip()[:80])
    return f"line {match[1]}: {what}: `{line}`; write NAME = VALUE, texts in quotes"


def _table(data: bytes, where: str, parse: Callable[[str], object], text_errors: str) -> Table:
    try:
        table = parse(_text(data))
        _require_bounded(table, text_errors)
        if not isinstance(table, dict):
            raise ValueError("is not a table of names and values")
    except RecursionError:
        raise MalformedFile(f"{where}: is nested too deeply") from None
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 (byte {error.start + 1})"
        raise MalformedFile(f"{where}: {what}: save it as UTF-8") from None
    except ValueError as error:
        raise MalformedFile(f"{where}: {shown(' '.join(str(error).split())[:300])}") from None
    return table


def _text(data: bytes) -> str:
    """Editors of other systems write a byte order mark, and some UTF-16."""
    for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        if data.startswith(mark):
            return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _require_bounded(table: object, text_errors: str) -> None:
    """Raise ValueError for what exceeds a bound, see the table of this module."""
    level: list[tuple[str, object]] = [("", table)]  # with the key that each is below
    for _ in range(MAX_DEPTH):
        below: list[tuple[str, object]] = []
        for key, value in level:
            if isinstance(value, dict):
                below += value.items()
                below += [("", name) for name in value]
            elif isinstance(value, list):
                below += [(key, each) for each in value]
            elif isinstance(value, str):
                value.encode(errors=text_errors)
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{key} = {value}: is not a number")
            elif isinstance(value, int) and abs(value) > MAX_INTEGER:
                raise ValueError(f"{key}: has a number that is too large")
        if not below:
            return
        level = below
    raise ValueError("is nested too deeply")
