"""What `nverb bank browse` shows of a bank: its recordings, its encoded rooms, or where it has
neither drawn rooms of the cube's corners and its middle."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from bank.browse import CLIP_HZ, Shown
from bank.format import Bank, Point
from bank.places import text_of
from bank.recording import MAX_ROOM_S
from device.controls import defaults
from dsp.names import shown
from firmware_py.rooms.maker import RoomMaker
from models.latent import KNOBS, knob_of
from models.residual import place_of


def count(bank: Bank) -> int:
    """How many rooms `rooms_of` gives."""
    return len(bank.waveforms) or len(bank.encoded) or 2**KNOBS + 1


def rooms_of(bank: Bank) -> Iterator[Shown]:
    """Name, samples and place of each room that the page shows. Raises BankError, OSError."""
    for waveform in bank.waveforms:
        yield Shown(shown(waveform.name), waveform.samples, waveform.rate_hz, waveform.at)
    if bank.waveforms:
        return
    maker = RoomMaker(bank, CLIP_HZ, round(MAX_ROOM_S * CLIP_HZ))
    for name, at in _places(bank):
        knobs = dict(zip("xyz", map(knob_of, at), strict=True))
        yield Shown(shown(name), maker.ir(defaults() | knobs), CLIP_HZ, at)


def _places(bank: Bank) -> list[tuple[str, Point]]:
    if bank.encoded:
        return [(name, place_of(residual)) for name, residual in bank.encoded]
    corners = list(itertools.product((bank.low, bank.high), repeat=KNOBS))
    middle = ((bank.low + bank.high) / 2,) * KNOBS
    return [(text_of((x, y, z)), (x, y, z)) for x, y, z in (*corners, middle)]
