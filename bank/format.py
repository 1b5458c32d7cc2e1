"""The bank file: a grid of rooms as energy maps, recorded IRs as waveforms, or both.

Read by pread, piece by piece: a mapped file that is truncated in place would kill the process.
Little endian. Every field is checked against its bounds and the file's
size before it is used.

    offset  bytes  field
         0      8  magic "nverbank"
         8      4  version, 1
        12      4  size of the description in bytes, at most 8 MiB
        16      8  size of the file in bytes
        24      8  offset of the rooms, a multiple of 64
        32      8  offset of the waveforms, a multiple of 64
        40     24  0
        64     ..  description, UTF-8 JSON: name, comment, axes, grid, list of waveforms,
                   interleaved, list of residuals (see `write`)
        ..     ..  rooms, x slowest, z fastest; each a float32 floor in dB, a float32 1 or 0 (with
                   or without direct sound), and (bands, 1 + frames) bytes, the direct sound first,
                   then the frames: byte b is b / 2 dB above the floor
        ..     ..  waveforms: float32 (channels, taps), each at a multiple of 64
      last     32  SHA-256 of all bytes before it
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import EnergyMap, Grid
from dsp.errors import InvalidValue
from dsp.names import shown
from models.files import write_atomically
from models.latent import LATENT_HIGH, LATENT_LOW
from models.reading import json_table, open_regular
from models.residual import Residual, ResidualError, from_text

Floats = NDArray[np.float32]
Point = tuple[float, float, float]

MAGIC = b"nverbank"
VERSION = 1
HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("description", "<u4"),
        ("size", "<u8"),
        ("rooms", "<u8"),
        ("waveforms", "<u8"),
    ]
)
HEADER_BYTES, ALIGN, DIGEST_BYTES = 64, 64, 32
MAX_DESCRIPTION, MAX_STEPS, MAX_WAVEFORMS, MAX_TAPS = 8 << 20, 64, 10_000, 10 * 192_000
MAX_NAME = 1000
MAX_RESIDUALS = 1000
STEP_DB = 0.5
PIECE = 1 << 20
FLOOR_LIMIT_DB = 300.0
LOUDEST = 1e9
"""Bounds of rooms and samples: their energies are float32."""
NOT_A_BANK = "is not an nverb bank; `nverb bank build` or `nverb bank import` makes one"


class BankError(InvalidValue):
    """The file is no bank, or damaged. The message names the file, the problem and the remedy."""


@dataclass(frozen=True)
class Waveform:
    """A recorded IR: `samples` float32 (1, 2 or 4 channels, taps) at `rate_hz`; `at`: its place."""

    name: str
    rate_hz: int
    at: Point
    samples: Floats

    @property
    def channels(self) -> int:
        return len(self.samples)

    @property
    def taps(self) -> int:
        return int(self.samples.shape[1])


@dataclass(frozen=True)
class StoredWaveform:
    """A recorded IR in a bank file, which `samples` reads."""

    name: str
    rate_hz: int
    at: Point
    channels: int
    taps: int
    read: Callable[[], bytes]

    @property
    def samples(self) -> Floats:
        """float32 (channels, taps), read from the file each time. Raises BankError, OSError."""
        return np.frombuffer(self.read(), "<f4").reshape(self.channels, self.taps)


def _aligned(n: int) -> int:
    return (n + ALIGN - 1) // ALIGN * ALIGN


def axis_points(steps: int, low: float, high: float) -> list[float]:
    """Grid points of an axis, evenly spaced from `low` to `high`; a single one is in the middle."""
    return np.linspace(low, high, steps).tolist() if steps > 1 else [(low + high) / 2]


def room_bytes(grid: Grid) -> int:
    return 8 + grid.bands * (1 + grid.frames)


def encode_room(room: EnergyMap) -> bytes:
    """A room as the file stores it: within 0.25 dB over the 127.5 dB below its loudest cell."""
    direct = np.full(room.grid.bands, -1e9) if room.direct_db is None else room.direct_db
    cells = np.concatenate([direct[:, None], room.level_db], axis=1)
    floor = float(cells.max()) - 255 * STEP_DB
    steps = np.clip(np.rint((cells - floor) / STEP_DB), 0, 255).astype(np.uint8)
    return np.array([floor, room.direct_db is not None], "<f4").tobytes() + steps.tobytes()


def write(
    path: Path,
    *,
    name: str,
    rooms: Sequence[bytes] = (),
    steps: int = 0,
    low: float = LATENT_LOW,
    high: float = LATENT_HIGH,
    grid: Grid | None = None,
    waveforms: Sequence[Waveform | StoredWaveform] = (),
    interleaved: int = 0,
    comment: str = "",
    residuals: Sequence[tuple[str, Residual]] = (),
) -> None:
    """Write a bank atomically. Raises OSError; an existing file stays unchanged then.

    `rooms`: steps ** 3 rooms from `encode_room`. `interleaved`: the waveforms are the plug-in's
    grid with this many steps per axis, see `bank.stepped`. `residuals`: encoded rooms by name.
    """
    description = {
        "name": name,
        "comment": comment,
        "interleaved": interleaved,
        "axes": {"steps": steps, "low": low, "high": high},
        "grid": asdict(grid or Grid()),
        "waveforms": [_about(waveform) for waveform in waveforms],
    }
    if residuals:
        description["residuals"] = [
            {"name": name, "residual": each.to_text()} for name, each in residuals
        ]
    text = json.dumps(description, sort_keys=True).encode()
    rooms_at = _aligned(HEADER_BYTES + len(text))
    waveforms_at = _aligned(rooms_at + sum(len(room) for room in rooms))
    end = waveforms_at + sum(_aligned(4 * w.channels * w.taps) for w in waveforms)
    header = np.zeros(1, HEADER)
    header[0] = (MAGIC, VERSION, len(text), end + DIGEST_BYTES, rooms_at, waveforms_at)

    def parts() -> Iterable[bytes]:
        yield header.tobytes().ljust(HEADER_BYTES, b"\0")
        yield text.ljust(rooms_at - HEADER_BYTES, b"\0")
        yield from rooms
        yield bytes(waveforms_at - rooms_at - sum(len(room) for room in rooms))
        for w in waveforms:
            data = np.ascontiguousarray(w.samples, "<f4").tobytes()
            yield data.ljust(_aligned(len(data)), b"\0")

    def write_parts(file: BinaryIO) -> None:
        digest = hashlib.sha256()
        for part in parts():
            digest.update(part)
            file.write(part)
        file.write(digest.digest())

    write_atomically(path, write_parts)


def _about(waveform: Waveform | StoredWaveform) -> dict[str, Any]:
    """A waveform's entry in the description."""
    return {
        "name": waveform.name,
        "rate_hz": waveform.rate_hz,
        "channels": waveform.channels,
        "taps": waveform.taps,
        "at": list(waveform.at),
    }


class _File:
    """Bytes of an open file, read by pread."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self.size = os.fstat(descriptor).st_size
        weakref.finalize(self, os.close, descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on. Raises BankError if the file has become shorter."""
        parts: list[bytes] = []
        while size > 0:
            part = os.pread(self._descriptor, size, offset)
            if not part:
                raise BankError(f"{self.path}: was truncated while in use: copy it again")
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Bank:
    """An open bank. Use `Bank.open`; rooms and recordings are read from the file on demand."""

    def __init__(self, file: _File) -> None:
        self.path = file.path
        self._file = file
        header = np.frombuffer(file.read(0, HEADER_BYTES), HEADER, 1)[0]
        if header["magic"] != MAGIC:
            self._fail(NOT_A_BANK)
        if header["version"] != VERSION:
            self._fail(f"has version {header['version']}, this nverb reads {VERSION}: update nverb")
        size, length = int(header["size"]), int(header["description"])
        if size != file.size:
            self._fail(f"has {file.size} bytes instead of {size}: it is truncated, copy it again")
        rooms_at, waveforms_at = int(header["rooms"]), int(header["waveforms"])
        data_end = size - DIGEST_BYTES
        self.digest = file.read(data_end, DIGEST_BYTES)
        """The SHA-256 that the file states."""
        if (
            length > MAX_DESCRIPTION
            or not HEADER_BYTES + length <= rooms_at <= waveforms_at <= data_end
        ):
            self._fail("has a damaged header: copy it again")
        try:
            self._describe(
                json_table(
                    file.read(HEADER_BYTES, length),
                    "JSON",
                    text_errors="surrogateescape",
                ),
                rooms_at,
                waveforms_at,
                data_end,
            )
        except (
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
            AttributeError,
        ) as error:
            if isinstance(error, BankError):
                raise
            self._fail(
                f"has a damaged description ({type(error).__name__}: {error}): copy it again"
            )

    def _describe(
        self, description: dict[str, Any], rooms_at: int, waveforms_at: int, data_end: int
    ) -> None:
        self.name = shown(str(description["name"])[:200])
        self.comment = shown(str(description["comment"])[:2000])
        axes = description["axes"]
        self.steps, self.low, self.high = (
            _whole(axes["steps"], 0, MAX_STEPS),
            float(axes["low"]),
            float(axes["high"]),
        )
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError("axes")
        field = description["grid"]
        self.grid = Grid(
            bands=_whole(field["bands"], 2, 256),
            frames=_whole(field["frames"], 2, 1024),
            lowest_hz=_real(field["lowest_hz"], 1, 1000),
            highest_hz=_real(field["highest_hz"], 1001, 96000),
            first_frame_s=_real(field["first_frame_s"], 1e-4, 1),
            duration_s=_real(field["duration_s"], 0.05, 60),
        )
        if rooms_at + self.steps**3 * room_bytes(self.grid) > waveforms_at:
            self._fail("has fewer rooms than its description states: copy it again")
        self._rooms_at = rooms_at
        self.waveforms: list[StoredWaveform] = []
        self._read_waveforms(description["waveforms"], waveforms_at, data_end)
        self._read_residuals(description.get("residuals", []))
        self.interleaved = _whole(description.get("interleaved", 0), 0, MAX_STEPS)
        if self.interleaved and (
            len(self.waveforms) != 2 * self.interleaved**3
            or any(
                w.channels != 1 or w.rate_hz != self.waveforms[0].rate_hz for w in self.waveforms
            )
        ):
            self._fail("is marked as the plug-in's grid but lacks its waveforms: copy it again")
        if not self.steps and not self.waveforms:
            self._fail("is empty: it has neither rooms nor recordings")

    def _read_waveforms(self, entries: list[Any], at: int, data_end: int) -> None:
        for entry in entries[: MAX_WAVEFORMS + 1]:
            channels, taps = _whole(entry["channels"], 1, 4), _whole(entry["taps"], 1, MAX_TAPS)
            end = at + 4 * channels * taps
            if channels == 3 or end > data_end or len(self.waveforms) == MAX_WAVEFORMS:
                self._fail("has waveforms of an invalid size: copy it again")
            x, y, z = (_real(v, -1e6, 1e6) for v in entry["at"])
            name, rate_hz = str(entry["name"])[:MAX_NAME], _whole(entry["rate_hz"], 1000, 400_000)
            read = partial(self._file.read, at, end - at)
            self.waveforms.append(StoredWaveform(name, rate_hz, (x, y, z), channels, taps, read))
            at = _aligned(end)

    def _read_residuals(self, entries: list[Any]) -> None:
        """The encoded rooms, and their names; those of a newer nverb are left out."""
        self.encoded: list[tuple[str, Residual]] = []
        for entry in entries[:MAX_RESIDUALS]:
            with contextlib.suppress(ResidualError):
                self.encoded.append(
                    (str(entry["name"])[:MAX_NAME], from_text(str(entry["residual"])))
                )

    @property
    def residuals(self) -> list[Residual]:
        return [residual for _, residual in self.encoded]

    @classmethod
    def open(cls, path: Path | str) -> Bank:
        """Open a bank and check its structure, but not its hash (`verify`). Raises BankError,
        OSError.
        """
        path = Path(path)
        file = _File(path, open_regular(path))
        if file.size < HEADER_BYTES + DIGEST_BYTES:
            raise BankError(f"{path}: {NOT_A_BANK}")
        return cls(file)

    def _fail(self, what: str) -> None:
        raise BankError(f"{self.path}: {what}")

    def verify(self) -> None:
        """Check every byte against the hash, and that every room and recording can be played: a
        hash proves only what the maker has written. Raises BankError."""
        digest, end = hashlib.sha256(), self._file.size - DIGEST_BYTES
        for at in range(0, end, PIECE):
            digest.update(self._file.read(at, min(PIECE, end - at)))
        if digest.digest() != self._file.read(end, DIGEST_BYTES):
            self._fail("does not match its SHA-256: it is damaged, copy it again")
        for index in range(self.steps**3):
            self._head(index)
        for waveform in self.waveforms:
            peak = float(np.abs(waveform.samples).max())
            if not 0 < peak < LOUDEST:
                kind = "is silent" if peak == 0 else "has samples that are no sound"
                self._fail(f"recording {shown(waveform.name)} {kind}: make the bank again")

    def _head(self, index: int) -> tuple[float, float]:
        """The floor of a room in dB, and 1 if it has a direct sound, else 0."""
        data = self._file.read(self._rooms_at + index * room_bytes(self.grid), 8)
        floor, direct = (float(value) for value in np.frombuffer(data, "<f4"))
        if not abs(floor) < FLOOR_LIMIT_DB:
            self._fail(f"room {index + 1} of {self.steps**3} is damaged: copy the bank again")
        return floor, float(direct > 0.5)

    def _room(self, index: int) -> tuple[Floats, float]:
        """Levels (bands, 1 + frames) in dB, direct sound first, and 1 if there is one, else 0."""
        floor, direct = self._head(index)
        size = room_bytes(self.grid)
        data = self._file.read(self._rooms_at + index * size + 8, size - 8)
        cells = np.frombuffer(data, np.uint8).reshape(self.grid.bands, 1 + self.grid.frames)
        return cells.astype(np.float32) * np.float32(STEP_DB) + np.float32(floor), direct

    def energy_map(self, x: float, y: float, z: float) -> EnergyMap:
        """The room at a point of the axes: trilinear in dB between the eight rooms around it.

        Coordinates are clamped to the ends of the axes. Called in the control process. Raises
        BankError for a bank without rooms.
        """
        if not self.steps:
            self._fail("contains recordings only, no rooms")
        span = max(self.steps - 1, 1)
        whole, share = [], []
        for value in (x, y, z):
            place = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0) * (
                self.steps - 1
            )
            low = min(int(place), max(span - 1, 0))
            whole.append(low)
            share.append(place - low)
        levels: Floats | None = None
        direct = 0.0
        for corner in range(8):
            weight, index = 1.0, 0
            for axis in range(3):
                upper = corner >> axis & 1
                weight *= share[axis] if upper else 1 - share[axis]
                index = index * self.steps + min(whole[axis] + upper, self.steps - 1)
            if weight > 0:
                cells, has_direct = self._room(index)
                levels = (
                    cells * np.float32(weight)
                    if levels is None
                    else levels + cells * np.float32(weight)
                )
                direct += weight * has_direct
        assert levels is not None
        level = np.ascontiguousarray(levels[:, 1:])
        return EnergyMap(
            level, self.grid, np.ascontiguousarray(levels[:, 0]) if direct > 0 else None
        )

    def nearest(self, x: float, y: float, z: float) -> StoredWaveform:
        """The recording nearest to the point. Raises BankError for a bank without recordings."""
        if not self.waveforms:
            self._fail("contains no recordings")
        return min(self.waveforms, key=lambda w: math.dist(w.at, (x, y, z)))


def _whole(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{value!r:.40} is not from {low} to {high}")
    return value


def _real(value: Any, low: float, high: float) -> float:
    number = float(value)
    if not low <= number <= high:
        raise ValueError(f"{number:g} is not from {low:g} to {high:g}")
    return number
