"""Names are compared as people read them, and shown without control characters."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp.names import composed, name_key, shown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café", "Cafe\u0301"),
        ("Hall", "hALL"),
        ("Straße", "STRASSE"),
        ("Great Hall", " great  hall\t"),
        ("ǰazz", "J\u030cAZZ"),  # casefold decomposes it again
        ("Ångström", "A\u030angstro\u0308m"),
    ],
)
def test_names_that_read_alike_are_equal(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


def test_other_names_stay_different() -> None:
    assert len({name_key(name) for name in ("Cafe", "Café", "Hall 1", "Hall 2", "Hall1")}) == 5


@given(st.text())
def test_name_key_is_stable_and_blind_to_the_form(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)
    assert name_key(unicodedata.normalize("NFD", name)) == name_key(name)
    assert name_key(composed(name)) == name_key(name)


@given(st.text(st.characters()))
def test_shown_text_is_one_printable_line_that_utf8_can_write(text: str) -> None:
    line = shown(text)
    assert line.isprintable()
    line.encode()
    assert shown(line) == line


def test_shown_escapes_what_steers_a_terminal_and_keeps_letters() -> None:
    assert shown("\x1b[31mred\x07\n\0") == r"\x1b[31mred\x07\n\x00"
    assert shown("\u202eright to left") == r"\u202eright to left"
    assert shown("Größe 8 – 日本") == "Größe 8 – 日本"
    assert shown(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
