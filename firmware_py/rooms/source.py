"""The door to the rooms: "give me the energy map at x, y, z", whoever answers, and the IR made from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bank.format import Bank
from device.controls import CONTROLS
from dsp.energymap import EnergyMap
from firmware_py.base.paths import data_dir

Floats = NDArray[np.float32]

ROOM_CONTROLS = tuple(control.name for control in CONTROLS if control.target == "room")
COLOURS = tuple(name for name in ROOM_CONTROLS if name.startswith("colour"))


class RoomSource(Protocol):
    """A bank or a decoder."""

    name: str

    @property
    def digest(self) -> bytes:
        """Of all that its rooms depend on: another digest, other rooms."""

    def energy_map(self, x: float, y: float, z: float) -> EnergyMap:
        """The room at a point of latent space, each coordinate in -2..2."""


def _warn(line: str) -> None:
    print(f"nverb: {line}", file=sys.stderr)


def find_source(
    path: Path | None = None, say: Callable[[str], None] = _warn, *, trusted: bool = False
) -> RoomSource:
    """The bank or the model at `path`; without one the rooms that come with nverb: the decoder, or where it cannot run the bank made
    from it, which `say` is told. `trusted`: as slots of the store are, see `Decoder.open`.

    Raises BankError, ModelError (NoRuntime where no TFLite runtime is installed), OSError.
    """
    from models.container import is_model
    from models.decoder import SHIPPED, Decoder, ModelError

    if path is not None:
        return Decoder.open(path, trusted=trusted) if is_model(path) else Bank.open(path)
    try:
        return Decoder.open()
    except (ModelError, OSError) as error:
        bank = SHIPPED / "rooms.nvbank"
        if not bank.exists():
            bank = starter_bank()
        say(f"{error}; playing from the bank {bank.name}")
        return Bank.open(bank)


VERIFIED_BYTES = 32 << 20
"""Larger slots are not read whole at each start: their structure is checked, and their bytes were when they were installed."""


def rooms_named(reference: str) -> RoomSource:
    """The rooms that a preset or a session means: "" the built-in ones, NAME@HASH a slot of the store (or, where that is gone, the last
    version of its name), else the path of a bank or model. Raises StoreError, BankError, ModelError, OSError."""
    from firmware_py.state.store import Store

    if not reference:
        return find_source()
    if os.sep in reference or reference.endswith((".nvbank", ".nvmodel")):
        return find_source(Path(reference))
    return find_source(Store(data_dir()).nearest(reference).path, trusted=True)


def installed_rooms(say: Callable[[str], None]) -> tuple[RoomSource, str]:
    """The rooms that the store says play, and their reference. If they are damaged: those before them, at last the built-in ones;
    `say` gets a line for each step back. Raises only what opening the built-in rooms does."""
    from firmware_py.state.store import Store

    tried = set()
    for state in Store(data_dir()).states():
        slot = state.playing
        if slot is None:
            break
        if slot in tried:
            continue
        tried.add(slot)
        try:
            if slot.path.stat().st_size <= VERIFIED_BYTES:
                slot.verify()
            return find_source(slot.path, trusted=True), slot.reference
        except (ValueError, OSError) as error:
            say(f"{error}; going back to the rooms before {slot.reference}")
    return find_source(say=say), ""


def starter_bank() -> Path:
    """The generator's own cube as a bank in the data folder; built there (a second or two) if it is not. For when all else is lost."""
    path = data_dir() / "banks" / "starter.nvbank"
    if not path.exists():
        from bank.build import build
        from models.generator import room_at

        path.parent.mkdir(parents=True, exist_ok=True)
        build(path, room_at, steps=10, name="starter")
    return path


class BuiltInRooms:
    """The starter rooms drawn one by one, from no file: what plays when files are what is wrong."""

    name = "built-in"
    digest = b"built-in"

    def energy_map(self, x: float, y: float, z: float) -> EnergyMap:
        from models.generator import room_at

        return room_at(x, y, z)
