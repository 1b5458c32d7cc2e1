"""Rooms that were encoded, as the pedal makes them: from a preset's residual with any source, and
from a bank's. The truth is the T30 of the IR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bank.build import build
from bank.format import Bank, encode_room, write
from device.controls import defaults
from dsp.acoustics import measure
from dsp.energymap import EnergyMap
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import BuiltInRooms, RoomSource
from models.generator import room_at
from models.latent import knob_of
from models.residual import OCTAVES, Residual, edges_of, rounded_end_s

RATE_HZ = 48_000
PLACE = (0.0, 0.5, 0.0)


def encoded(t60_s: float, place: tuple[float, float, float] = PLACE) -> Residual:
    """A room that decays exponentially, at a place."""
    ends = rounded_end_s(np.full(OCTAVES, t60_s))
    left = 10 ** (-6 * edges_of(ends) / t60_s)
    latent = np.array([*place, 0, 0, 0, 0, 0], float)
    return Residual(latent, ends, 10 * np.log10(-np.diff(left, axis=1)), np.full(OCTAVES, -np.inf))


def values(place: tuple[float, float, float] = PLACE, **changed: float) -> dict[str, float]:
    return defaults() | dict(zip("xyz", map(knob_of, place), strict=True)) | changed


def t30_s(ir: NDArray[np.float32]) -> float:
    """The median of the octaves from 125 Hz on, of the left side."""
    return float(np.nanmedian(measure(ir[0], RATE_HZ, start=0).t30_s[1:]))


class ColouredRooms(BuiltInRooms):
    """Like a decoder: its rooms depend on a colour."""

    colours = 5

    def energy_map(  # type: ignore[override]
        self, x: float, y: float, z: float, colour: list[float]
    ) -> EnergyMap:
        return super().energy_map(x + 0.1 * colour[0], y, z)


@pytest.mark.parametrize("kind", ["built-in", "coloured", "bank"])
def test_residual_plays_with_every_source(kind: str, tmp_path: Path) -> None:
    """T30 within 4 % at the place, whatever the source's room is there; the source's own T30 at the
    reach, and without the control; between them on the way from one to the other."""
    source: RoomSource = BuiltInRooms()
    if kind == "coloured":
        source = ColouredRooms()  # type: ignore[assignment]
    elif kind == "bank":
        build(tmp_path / "grid.nvbank", room_at, steps=4, name="grid")
        source = Bank.open(tmp_path / "grid.nvbank")
    plain = RoomMaker(source, RATE_HZ, 4 * RATE_HZ)
    maker = plain.of(source, encoded(2.4).to_text())
    own_s = t30_s(plain.ir(values()))
    assert own_s < 1.6
    assert t30_s(maker.ir(values())) == pytest.approx(2.4, rel=0.04)
    np.testing.assert_array_equal(maker.ir(values(residual=0.0)), plain.ir(values()))
    x = values()["x"]
    np.testing.assert_array_equal(maker.ir(values(x=x + 3.0)), plain.ir(values(x=x + 3.0)))
    near, far = (t30_s(maker.ir(values(z=values()["z"] + off))) for off in (1.0, 2.0))
    assert 2.4 > near > far > own_s


def test_knobs_pass_an_encoded_room_without_a_step() -> None:
    """Levels of maps on the way through the place, 0.01 of a knob apart: no change is larger than
    ten times the source's own, or than 0.5 dB in 80 dB."""
    from firmware_py.rooms.encoded import EncodedRooms

    source = BuiltInRooms()
    rooms = EncodedRooms([encoded(2.4)], 4.0)

    def base(residual: Residual) -> EnergyMap:
        x, y, z = (float(value) for value in residual.latent[:3])
        return source.energy_map(x, y, z)

    def level(x: float) -> NDArray[np.float32]:
        room = source.energy_map(-2 + 4 * x / 9, *PLACE[1:])
        level = rooms.change(room, values(x=x), base).level_db
        return level - level.max()

    for begin in (4.5, 6.0, 7.49):  # at the place, on the way, at the reach
        before, after = level(begin), level(begin + 0.01)
        heard = before > -80
        assert np.abs(after - before)[heard].max() < 0.5


def test_bank_plays_its_encoded_rooms(tmp_path: Path) -> None:
    """Two, 1.35 of a knob apart: each is exact at its place, where the other has no part."""
    path = tmp_path / "encoded.nvbank"
    axis = np.linspace(-2, 2, 3)
    rooms = [room_at(x, y, z) for x in axis for y in axis for z in axis]
    places = [(0.0, 0.5, 0.0), (0.6, 0.5, 0.0)]
    write(
        path,
        name="encoded",
        rooms=[encode_room(room) for room in rooms],
        steps=3,
        grid=rooms[0].grid,
        residuals=[
            (name, encoded(t60_s, place))
            for name, t60_s, place in zip(("a", "b"), (2.4, 0.9), places, strict=True)
        ],
    )
    bank = Bank.open(path)
    bank.verify()
    assert [name for name, _ in bank.encoded] == ["a", "b"]
    maker = RoomMaker(bank, RATE_HZ, 4 * RATE_HZ)
    for place, t60_s in zip(places, (2.4, 0.9), strict=True):
        assert t30_s(maker.ir(values(place))) == pytest.approx(t60_s, rel=0.04)
    other = RoomMaker(bank, RATE_HZ, 4 * RATE_HZ, residual=encoded(1.7).to_text())
    assert t30_s(other.ir(values())) == pytest.approx(1.7, rel=0.04)  # a preset's comes first


def test_residual_and_reach_are_parts_of_the_fingerprint() -> None:
    plain = RoomMaker(BuiltInRooms(), RATE_HZ, RATE_HZ)
    one, two = (plain.of(BuiltInRooms(), encoded(t60_s).to_text()) for t60_s in (1.0, 2.0))
    prints = {maker.fingerprint(values()) for maker in (plain, one, two)}
    prints |= {one.fingerprint(values(residual=1.0))}
    assert len(prints) == 4
    assert plain.fingerprint(values(residual=1.0)) == plain.fingerprint(values())
