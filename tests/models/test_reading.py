"""Files from outside: what blocks, never ends or exceeds a bound is one error line."""

import json
import math
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.reading import MAX_DEPTH, MalformedFile, json_table, read_file, toml_table

BIG = "1" + "0" * 400
MALFORMED_JSON = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff" * 100,
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
    b'{"a": %s}' % BIG.encode(),
    b'{"a": -%s}' % BIG.encode(),
    b'{"a": [{"b": 1%s}]}' % (b"0" * 5000),
    b'{"a": 1e999}',
    b'{"a": NaN}',
    b'{"a": -Infinity}',
    b'{"a": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"a": "\x1b[31m"}',
]
MALFORMED_TOML = [
    b"a",
    b"a = 1\na = 2",
    b"title = " + b"[" * 3000 + b"]" * 3000,
    b"a." * 3000 + b"b = 1",
    f"a = {BIG}".encode(),
    b"a = inf",
    b"a = [nan]",
    b'a = "\xe9"',
    b"a = \x1b[31m",
]


@pytest.mark.parametrize("data", MALFORMED_JSON)
def test_malformed_json_is_one_line_that_names_the_file(data: bytes) -> None:
    with pytest.raises(MalformedFile, match=r"^here: ") as caught:
        json_table(data, "here")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("data", MALFORMED_TOML)
def test_malformed_toml_is_one_line_that_names_the_file(data: bytes) -> None:
    with pytest.raises(MalformedFile, match=r"^here: ") as caught:
        toml_table(data, "here")
    assert str(caught.value).isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_malformed(data: bytes) -> None:
    for parse in (json_table, toml_table):
        try:
            assert isinstance(parse(data, "here"), dict)
        except MalformedFile:
            pass


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc"), VALUES, max_size=4))
def test_valid_json_is_read_as_it_was_written(table: dict) -> None:
    assert json_table(json.dumps(table).encode(), "here") == table


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_of_foreign_editors_are_read(encoding: str, newline: str) -> None:
    toml = newline.join(["version = 1", "# Größe", 'card = "größer"', ""]).encode(encoding)
    assert toml_table(toml, "here") == {"version": 1, "card": "größer"}
    text = newline.join(['{"card":', '"größer"}', ""]).encode(encoding)
    assert json_table(text, "here") == {"card": "größer"}


def test_only_regular_files_are_read_and_nothing_waits(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    (tmp_path / "to pipe").symlink_to("pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "folder", "socket", "to pipe", "endless", "loop", "missing"):
        with pytest.raises(OSError, match=name):
            read_file(tmp_path / name, 100)
    listener.close()


def test_read_file_bounds_size_and_follows_links_only_when_asked(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to("file")
    assert read_file(path, 100) == read_file(tmp_path / "link", 100) == b"x" * 100
    with pytest.raises(MalformedFile, match="larger than 99"):
        read_file(path, 99)
    with pytest.raises(OSError, match="link"):
        read_file(tmp_path / "link", 100, follow=False)
    os.truncate(path, 1 << 40)  # sparse
    with pytest.raises(MalformedFile, match="larger"):
        read_file(path, 100)


def test_bounds_hold_for_numbers_at_the_edge() -> None:
    assert json_table(b'{"a": %d, "b": -%d, "c": 1e308}' % (2**63 - 1, 2**63 - 1), "here") == {
        "a": 2**63 - 1,
        "b": 1 - 2**63,
        "c": 1e308,
    }
    assert math.isclose(toml_table(b"a = 1e300", "here")["a"], 1e300)
