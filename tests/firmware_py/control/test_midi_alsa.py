"""Events of ALSA's sequencer as channel messages. `make acceptance` (tests/board/hands.py) has the
real sequencer."""

from __future__ import annotations

import errno
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_py.control.midi_alsa import AlsaMidi, event_data, records
from firmware_py.control.midi_backend import BackendError

CC, PROGRAM, PRESSURE, BEND, CC14, NRPN, RPN, SYSEX = 10, 11, 12, 13, 14, 15, 16, 130


def control(channel: int, number: int, value: int) -> bytes:
    """The data of struct snd_seq_ev_ctrl: channel, three unused bytes, parameter, value."""
    return struct.pack("=BBBBIi", channel, 0, 0, 0, number, value)


@pytest.mark.parametrize(
    ("kind", "data", "wanted"),
    [
        (CC, control(2, 91, 127), ["b25b7f"]),
        (PROGRAM, control(0, 0, 5), ["c00500"]),
        (PRESSURE, control(0, 0, 5), ["d00500"]),
        (BEND, control(0, 0, 0), ["e00040"]),
        (BEND, control(0, 0, -8192), ["e00000"]),
        (CC14, control(0, 16, 64 << 7 | 3), ["b01040", "b03003"]),
        (CC14, control(0, 70, 5), ["b04605"]),
        (NRPN, control(0, 133, 64 << 7), ["b06301", "b06205", "b00640", "b02600"]),
        (RPN, control(0, 2, 1), ["b06500", "b06402", "b00600", "b02601"]),
        (6, bytes((1, 60, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0)), ["913c63"]),
        (7, bytes((1, 60, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0)), ["813c63"]),
        (SYSEX, bytes(12), []),
    ],
)
def test_event_gives_its_messages(kind: int, data: bytes, wanted: list[str]) -> None:
    assert [message.hex() for message in records(kind, data)] == wanted


@given(st.sampled_from([0x90, 0xB0, 0xC0]), st.integers(0, 15), st.integers(0, 127))
def test_message_that_is_sent_comes_back(status: int, channel: int, value: int) -> None:
    message = bytes((status | channel, value, 0 if status == 0xC0 else value))
    found = event_data(message)
    assert found is not None and len(found[1]) == 12
    assert records(*found) == [message]


def test_events_for_which_the_kernel_had_no_room_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel says so once, drops all that waited, and goes on."""
    backend = AlsaMidi.__new__(AlsaMidi)
    results = iter([-errno.ENOSPC, -errno.EAGAIN, -errno.EAGAIN])
    monkeypatch.setattr(backend, "_call", lambda *_: next(results))
    monkeypatch.setattr(backend, "_lost", 0, raising=False)
    monkeypatch.setattr(backend, "_changed", False, raising=False)
    assert backend.read() == b"" and backend.lost() == 1
    assert backend.changed(), "announcements may be among what was dropped"
    assert backend.read() == b"" and backend.lost() == 0


def test_machine_without_sequencer_is_reported_with_its_remedy() -> None:
    if os.path.exists("/dev/snd/seq"):
        pytest.skip("this machine has a sequencer")
    with pytest.raises(BackendError, match=r"snd-seq|libasound"):
        AlsaMidi()
