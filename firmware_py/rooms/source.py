"""Opens sources of rooms: banks, models, the built-in rooms."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bank.format import Bank
from device.controls import CONTROLS
from dsp.energymap import EnergyMap
from dsp.errors import reason
from firmware_py.base.paths import data_dir, data_path
from firmware_py.base.say import say

Floats = NDArray[np.float32]

ROOM_CONTROLS = tuple(control.name for control in CONTROLS if control.target == "room")
COLOURS = tuple(name for name in ROOM_CONTROLS if name.startswith("colour"))


class RoomSource(Protocol):
    """Gives the energy map of the room at a point: a bank, a decoder, the built-in rooms."""

    name: str

    @property
    def digest(self) -> bytes:
        """A digest of everything that its rooms depend on."""

    def energy_map(self, x: float, y: float, z: float) -> EnergyMap:
        """The room at a point of latent space, each coordinate in -2..2."""


def find_source(
    path: Path | None = None, say: Callable[[str], None] = say, *, trusted: bool = False
) -> RoomSource:
    """The bank or model at `path`, else the rooms that come with nverb.

    Those are the shipped decoder, or if it cannot run, the bank made from it; `say` reports that.
    `trusted`: true for slots of the store, see `Decoder.open`. Raises BankError, ModelError
    (NoRuntime without a TFLite runtime), OSError.
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
        say(f"{error}; playing the bank {bank.name} instead")
        return Bank.open(bank)


VERIFIED_BYTES = 32 << 20
"""Larger slots are not hashed at each start. Their hash was checked at installation, and their
structure is checked when they are opened."""


def rooms_named(reference: str) -> RoomSource:
    """The rooms of a reference, as in presets and sessions.

    "": the rooms that come with nverb. NAME@HASH: a slot of the store, or if it is gone, the last
    version of NAME. Otherwise the path of a bank or model. Raises StoreError, BankError,
    ModelError, OSError.
    """
    if not reference:
        return find_source()
    return find_source(_path_named(reference), trusted=path_of(reference) is None)


def rooms_fault(reference: str) -> str:
    """Why the rooms of a reference cannot be opened; "" if they can, as far as their file shows."""
    from models import container

    if not reference:
        return ""
    try:
        path = _path_named(reference)
        if not container.is_model(path):
            Bank.open(path)
    except (ValueError, OSError) as error:
        return reason(error)
    return ""


def path_of(reference: str) -> Path | None:
    """The path that a reference is; None for a slot and for the rooms that come with nverb."""
    if os.sep in reference or reference.endswith((".nvbank", ".nvmodel")):
        return Path(reference)
    return None


def _path_named(reference: str) -> Path:
    from firmware_py.state.store import Store

    return path_of(reference) or Store(data_path()).nearest(reference).path


def installed_rooms(say: Callable[[str], None]) -> tuple[RoomSource, str]:
    """The active rooms of the store, and their reference.

    If they are damaged: the previous ones, and last the rooms that come with nverb; `say` reports
    each step. Raises only if those cannot be opened.
    """
    from firmware_py.state.store import Store

    tried = set()
    for state in Store(data_path()).states():
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
            say(f"{error}; playing the rooms before {slot.reference} instead")
    return find_source(say=say), ""


def starter_bank() -> Path:
    """A bank of the generator's cube in the data folder, built there (1 to 2 s) if it is missing.

    The last resort when neither the shipped decoder nor its bank can be opened.
    """
    path = data_dir() / "banks" / "starter.nvbank"
    if not path.exists():
        from bank.build import build
        from models.files import refuse_as_root
        from models.generator import room_at

        refuse_as_root(data_dir())
        path.parent.mkdir(parents=True, exist_ok=True)
        build(path, room_at, steps=10, name="starter")
    return path


class BuiltInRooms:
    """The generator's rooms, computed without a file. Used when no bank or model can be read."""

    name = "built-in"
    digest = b"built-in"

    def energy_map(self, x: float, y: float, z: float) -> EnergyMap:
        from models.generator import room_at

        return room_at(x, y, z)
