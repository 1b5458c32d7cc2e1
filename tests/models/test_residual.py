"""Residuals of encoded rooms: the encoded form, what they do to a room, the fit. The truth is a
measurement after ISO 3382-1 (`dsp.acoustics`), or arithmetic on exponential decays."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from dsp import acoustics
from dsp.energymap import DEFAULT_GRID, EnergyMap
from dsp.synthesis import Synthesiser
from dsp.taps import NO_TAPS
from models import residual as residuals
from models.decoder import Decoder, Encoder, ModelError
from models.encoding import encode
from models.residual import OCTAVES, Residual, ResidualError, from_bytes, from_text, gains
from models.width import width_of

RATE_HZ = 48_000
LATENT = np.array([0.5, -1.25, 1.999, 0, 3, -3, 0.1, 0.0001])


def exponential(t60_s: NDArray[np.float64], direct: float = 0.0) -> Residual:
    """A room whose octaves decay exponentially, each with a T60 and an energy of 1."""
    ends = residuals.rounded_end_s(t60_s)
    edges = residuals.edges_of(ends)
    left = 10 ** (-6 * edges / t60_s[:, None])
    with np.errstate(divide="ignore"):
        direct_db = np.full(OCTAVES, 10 * np.log10(np.float64(direct)))
        return Residual(LATENT, ends, 10 * np.log10(-np.diff(left, axis=1)), direct_db)


def flat_room(t60_s: float) -> EnergyMap:
    """A map that decays exponentially in all bands, with a direct sound."""
    grid = DEFAULT_GRID
    level = -60 * grid.frame_centre_s / t60_s + 10 * np.log10(np.diff(grid.edge_hz))[:, None]
    level = np.maximum(level, level.max() - 120).astype(np.float32)
    return EnergyMap(level, grid, (level[:, 0] - 20).astype(np.float32))


def test_encoded_form_is_small_and_exact() -> None:
    """Energies to half a step, ends to 2 %, latents to 0.0001; a second time nothing changes, and
    parts of a newer nverb are kept."""
    one = exponential(np.linspace(0.3, 8.0, OCTAVES), direct=0.5)
    again = from_text(one.to_text())
    assert len(one.to_bytes()) < 200
    top = max(one.energy_db.max(), one.direct_db.max())
    np.testing.assert_allclose(again.energy_db, one.energy_db - top, atol=0.2501)
    np.testing.assert_allclose(again.direct_db, one.direct_db - top, atol=0.2501)
    np.testing.assert_allclose(again.end_s, one.end_s, rtol=1e-9)
    np.testing.assert_allclose(again.latent, LATENT, atol=5e-5)
    newer = replace(again, taps=NO_TAPS, others={9: b"more"})
    found = from_bytes(newer.to_bytes())
    assert found.others == {9: b"more"} and found.taps is not None and len(found.taps) == 0
    assert from_bytes(newer.to_bytes()).to_bytes() == newer.to_bytes()
    silent = from_bytes(exponential(np.full(OCTAVES, 1.0)).to_bytes())
    assert np.isneginf(silent.direct_db).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "0 bytes"),
        (lambda data: b"\2" + data[1:], "version 2"),
        (lambda data: data[:-1], "damaged"),
        (lambda data: data + b"\1\2", "damaged"),
        (lambda data: data[:20], "energies"),
        (lambda data: data + bytes(2000), "2"),
        (lambda data: data + data[1:20], "damaged"),
    ],
)
def test_damaged_residual_is_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    data = exponential(np.full(OCTAVES, 1.0)).to_bytes()
    with pytest.raises(ResidualError, match=message):
        from_bytes(change(data))
    with pytest.raises(ResidualError):
        from_text("not base64!")


def test_any_bytes_are_read_or_refused() -> None:
    """Bytes of chance, and a residual with each byte changed: ResidualError or finite gains."""
    random = np.random.default_rng(1)
    data = exponential(np.full(OCTAVES, 1.0), 0.1).to_bytes()
    tried = [random.bytes(size) for size in (1, 3, 20, 200)]
    tried += [data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :] for at in range(len(data))]
    for one in tried:
        try:
            found = from_bytes(one)
        except ResidualError:
            continue
        assert np.isfinite(found.latent).all() and (np.abs(found.latent) < 4).all()
        if random.random() < 0.1:
            assert np.isfinite(gains(found, flat_room(1.0), 4.0).level_db).all()


def test_room_gets_the_energies_of_its_residual() -> None:
    """T30 of the synthesised room follows the residual's, whatever the source's room: the median of
    the octaves from 125 Hz within 3 %, in a dry, a usual and a long room."""
    synthesise = Synthesiser(RATE_HZ)
    for base_s, wanted_s in ((1.5, 0.4), (0.5, 2.0), (2.5, 9.0)):
        wanted = exponential(np.linspace(wanted_s, 0.6 * wanted_s, OCTAVES))
        base = flat_room(base_s)
        room = gains(wanted, base, 10.0).apply(base, 1.0)
        assert room.direct_db is None  # the encoded room has none
        found = acoustics.measure(synthesise(room, 0.0)[0], RATE_HZ, start=0)
        true = np.linspace(wanted_s, 0.6 * wanted_s, OCTAVES)
        assert np.median(np.abs(found.t30_s / true - 1)[1:]) < 0.03, (base_s, wanted_s)


def test_direct_sound_follows_the_residual() -> None:
    """Its energy against that of the rest, in each octave within 0.5 dB; added to a source's room
    without one, too."""
    from models.measures import octave_matrix, power

    wanted = exponential(np.full(OCTAVES, 1.0), direct=4.0)
    with_direct = flat_room(1.0)
    without = EnergyMap(with_direct.level_db, with_direct.grid)
    for base in (with_direct, without):
        room = gains(wanted, base, 4.0).apply(base, 1.0)
        assert room.direct_db is not None
        octaves = octave_matrix(room.grid)
        direct = octaves @ power(room.direct_db)
        rest = octaves @ (power(room.level_db) @ room.grid.frame_s)
        np.testing.assert_allclose(10 * np.log10(direct / rest), 10 * np.log10(4.0), atol=0.5)


def test_strength_and_gains_are_continuous() -> None:
    """1 at the place, 0 at the reach, no step between; a small strength is a small change."""
    at = np.array([residuals.strength(distance, 3.0) for distance in np.linspace(0, 4, 401)])
    assert at[0] == 1 and (at[300:] == 0).all() and (np.diff(at) <= 0).all()
    assert np.abs(np.diff(at)).max() < 0.006
    assert residuals.strength(0.1, 0.0) == residuals.strength(0.0, 0.0) == 0
    base = flat_room(1.0)
    change = gains(exponential(np.full(OCTAVES, 2.0)), base, 4.0)
    heard = base.level_db > base.level_db.max() - 80
    rooms = [change.apply(base, part).level_db[heard] for part in np.linspace(0, 1, 41)]
    steps = [np.abs(b - a).max() for a, b in itertools.pairwise(rooms)]
    assert max(steps) < 1.05 * np.abs(rooms[-1] - rooms[0]).max() / 40 + 0.01


@pytest.fixture(scope="module")
def models() -> tuple[Decoder, Encoder]:
    try:
        return Decoder.open(), Encoder.open()
    except (ModelError, OSError) as error:
        pytest.skip(f"no decoder runs here: {error}")


def coupled_room(fast_s: float, slow_s: float, slow_db: float) -> NDArray[np.float32]:
    """Noise with two slopes, which eight latents do not hold."""
    time = np.arange(int(1.2 * slow_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(3).standard_normal((2, len(time)))
    slow = 10 ** (slow_db / 20 - 3 * time / slow_s)
    return (noise[0] * 10 ** (-3 * time / fast_s) + noise[1] * slow).astype(np.float32)


def test_encoded_room_measures_like_its_recording(models: tuple[Decoder, Encoder]) -> None:
    """A room of two slopes, as it is played, measured again here: medians from 125 Hz of the
    decay curve within 1 dB, T30 within 3 %, EDT within 5 %, C50 within 0.6 dB. The latents alone
    are further off."""
    from models.differences import differences

    ir = coupled_room(0.5, 2.5, -20)
    calls: list[tuple[int, int]] = []
    found = encode(ir, *models, report=lambda done, of: calls.append((done, of)))
    alone = encode(ir, *models, keeps_residual=False)
    assert calls[0][0] == 0 and calls[-1][0] == calls[-1][1]
    assert found.residual is not None and alone.residual is None
    assert len(found.residual.to_bytes()) < 280
    decoder = models[0]
    x, y, z, *colours = (float(value) for value in found.residual.latent)
    base = decoder.energy_map(x, y, z, colours)
    room = gains(from_text(found.residual.to_text()), base, 10.0).apply(base, 1.0)
    wanted = acoustics.measure(ir, RATE_HZ)
    sides = Synthesiser(RATE_HZ, base.grid)(room, 1.0)
    off = np.mean(
        [differences(acoustics.measure(side, RATE_HZ, start=0), wanted) for side in sides], axis=0
    )
    edc, t30, edt, c50 = np.nanmedian(off[:4, 1:], axis=1)
    assert edc < 1.0 and t30 < 3.0 and edt < 5.0 and c50 < 0.6
    assert np.nanmedian(alone.differences[0, 1:]) > edc


def test_width_of_synthesised_rooms_is_found() -> None:
    """Within 0.15 for noise of that correlation; a recording of equal sides has width 0."""
    room, rate_hz = flat_room(0.8), 24_000
    synthesise = Synthesiser(rate_hz)
    for width in (0.0, 0.5, 1.0, 2.5):
        left, right = synthesise(EnergyMap(room.level_db, room.grid), width)
        assert width_of(left, right, rate_hz) == pytest.approx(width, abs=0.15)
    silence = np.zeros(RATE_HZ, np.float32)
    silence[100] = 1
    assert width_of(silence, silence, RATE_HZ) == 1.0
