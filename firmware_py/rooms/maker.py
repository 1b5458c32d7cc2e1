"""Makes impulse responses of rooms for the engine."""

from __future__ import annotations

import copy
import hashlib
import struct

from dsp.loudness import normalise
from firmware_py.rooms.kinds import rooms_of
from firmware_py.rooms.renderer import MadeRoom, Renderer
from firmware_py.rooms.source import ROOM_CONTROLS, Floats, RoomSource
from models.residual import from_text


class RoomMaker:
    """Makes IRs for the values of the room controls. The control process and the renderer use it.

    It holds noise carriers and recordings: some tens of MB.
    """

    def __init__(
        self,
        source: RoomSource | None,
        rate_hz: int,
        max_taps: int,
        inputs: int = 2,
        residual: str = "",
    ) -> None:
        """`source`: None for `recorded` only. `inputs`: see `Renderer`. `residual`: of an encoded
        room, as text. Raises ResidualError."""
        self._use(source, Renderer(rate_hz, max_taps, inputs), residual)

    def _use(self, source: RoomSource | None, renderer: Renderer, residual: str) -> None:
        self._source, self._renderer, self._residual = source, renderer, residual
        decoded = from_text(residual) if residual else None
        self._rooms = rooms_of(source, renderer, decoded) if source is not None else None

    def of(self, source: RoomSource, residual: str = "") -> RoomMaker:
        """A RoomMaker for another source that shares the carriers, which are slow to make."""
        other = copy.copy(self)
        other._use(source, self._renderer, residual)
        return other

    @property
    def is_true_stereo(self) -> bool:
        """See `Renderer`. All makers that share the carriers have the same."""
        return self._renderer.is_true_stereo

    @is_true_stereo.setter
    def is_true_stereo(self, value: bool) -> None:
        self._renderer.is_true_stereo = value

    def prepare_true_stereo(self) -> bool:
        """See `Renderer.prepare_true_stereo`."""
        return self._renderer.prepare_true_stereo()

    def prepare(self) -> None:
        """Do a part of the work that later rooms need. Call it in idle time."""
        self._renderer.prepare()

    @property
    def remark(self) -> str:
        """What the engine changes of the source, for the log; "" if nothing."""
        return self._rooms.remark if self._rooms else ""

    def fingerprint(self, values: dict[str, float]) -> int:
        """64 bits that identify the room: equal for equal IRs. Never 0, which means unknown."""
        assert self._source is not None and self._rooms is not None
        distinct = self._rooms.distinct(values)
        room = struct.pack(
            f"<{len(ROOM_CONTROLS)}d2Q?",
            *(distinct[name] for name in ROOM_CONTROLS),
            self._renderer.rate_hz,
            self._renderer.inputs,
            self._rooms.is_true_stereo,
        )
        rooms = self._source.digest + self._residual.encode()
        digest = hashlib.blake2b(rooms + room, digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1

    def ir(self, values: dict[str, float]) -> Floats:
        """The IR of the room for these values: float32 (1, 2 or 4 channels, taps).

        Raises what reading the source raises: BankError, ModelError, OSError.
        """
        assert self._rooms is not None
        return self._rooms.render(values)

    def room(self, values: dict[str, float]) -> MadeRoom:
        """The room for the engine, which may go on after its IR. Raises as `ir`."""
        assert self._rooms is not None
        return self._rooms.made(values)

    def recorded(self, samples: Floats, values: dict[str, float]) -> Floats:
        """The IR of a recording at the engine's rate, float32 (1, 2 or 4 channels, taps).

        At the defaults of the controls: its samples at the level of every room.
        """
        return normalise(self._renderer.from_samples(samples, values), self._renderer.rate_hz)
