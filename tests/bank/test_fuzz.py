"""Fuzzes the readers of banks and models with random and hostile changes: a file is read or
rejected.

The budgets and the seeds are fixed, so that each run tries the same files; NVERB_FUZZ_READERS
multiplies the budgets, as `make acceptance-readers` does.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import dense_model
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bank.build import build
from bank.format import HEADER_BYTES, Bank, BankError, Waveform, write
from device.controls import defaults
from dsp.energymap import EnergyMap, Grid
from dsp.errors import InvalidValue
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import find_source
from models import container

GRID = Grid(bands=8, frames=8)
LONGER = int(os.environ.get("NVERB_FUZZ_READERS", "1"))
STEADY = settings(
    max_examples=400 * LONGER,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(
    st.sampled_from(
        [0, -1, 1, 2, 3, 64, 65, 2**15, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**400]
    ),
    st.sampled_from(
        [0.0, -0.0, 1e-320, 0.5, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]
    ),
    st.integers(),
    st.floats(),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=30)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
edges64 = st.one_of(
    st.sampled_from(
        [0, 1, 63, 64, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 64]
    ),
    st.integers(0, 2**64 - 1),
    st.integers(0, 4096),
)


@st.composite
def damage(draw: st.DrawFn, length: int) -> list[tuple[str, int, int]]:
    """Up to six changed bytes, cuts and insertions in a file of `length` bytes."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(["set", "set", "flip", "cut", "insert"]),
                st.integers(0, length),
                st.integers(0, 255),
            ),
            min_size=1,
            max_size=6,
        )
    )


def damaged(data: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    made = bytearray(data)
    for what, at, value in changes:
        if what == "cut":
            del made[at : at + 1 + value]
        elif what == "insert":
            made[at:at] = bytes([value]) * (1 + value % 9)
        elif at < len(made):
            made[at] = value if what == "set" else made[at] ^ 1 << value % 8
    return bytes(made)


def paths_into(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all nodes of a JSON tree, inner ones and leaves."""
    found = [path] if path else []
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, inner in items:
        found += paths_into(inner, (*path, key))
    return found


def changed(tree: Any, path: tuple[Any, ...], value: Any, remove: bool) -> Any:
    tree = copy.deepcopy(tree)
    place = tree
    for key in path[:-1]:
        place = place[key]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return tree


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def banks(folder: Path) -> list[bytes]:
    """One bank of each kind: rooms, recordings, the plug-in's."""
    chance = np.random.default_rng(1)

    def room(x: float, y: float, z: float) -> EnergyMap:
        return EnergyMap(chance.uniform(-60, 0, (8, 8)).astype(np.float32), GRID)

    build(folder / "rooms", room, steps=2, name="rooms")
    own = [
        Waveform(str(c), 48_000, (c, 0.0, -c), chance.standard_normal((c, 40)).astype(np.float32))
        for c in (1, 2, 4)
    ]
    write(folder / "own", name="own", waveforms=own)
    write(folder / "plug-in", name="plug-in", waveforms=own[:1] * 2, interleaved=1)
    return [(folder / name).read_bytes() for name in ("rooms", "own", "plug-in")]


def play(path: Path) -> None:
    """Use a bank as the pedal does, and call all other readers.

    BankError and InvalidValue are accepted; any other exception fails the test.
    """
    try:
        bank = Bank.open(path)
        if bank.waveforms:
            bank.nearest(0.0, 1.0, 2.0)
        if bank.steps:
            room = bank.energy_map(0.1, 5.0, -0.3)
            assert np.isfinite(room.level_db).all()
        if bank.grid == GRID:  # the cost of other grids is bounded by the installer's trial
            ir = RoomMaker(find_source(path), 8000, 80_000).ir(defaults())
            assert np.isfinite(ir).all()
        bank.verify()
    except BankError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    except InvalidValue:
        pass


@STEADY
@given(data=st.data())
def test_reader_survives_damaged_banks(
    data: st.DataObject, banks: list[bytes], folder: Path
) -> None:
    good = data.draw(st.sampled_from(banks))
    path = folder / "damaged"
    path.write_bytes(damaged(good, data.draw(damage(len(good)))))
    play(path)


@STEADY
@given(data=st.data())
def test_reader_survives_hostile_bank_headers(
    data: st.DataObject, banks: list[bytes], folder: Path
) -> None:
    good = bytearray(data.draw(st.sampled_from(banks)))
    good[8:16] = struct.pack(
        "<II", data.draw(st.sampled_from([0, 1, 1, 1, 1, 2, 2**32 - 1])), data.draw(edges64) % 2**32
    )
    for at in data.draw(st.lists(st.sampled_from([16, 24, 32]), unique=True)):
        struct.pack_into("<Q", good, at, data.draw(edges64))
    path = folder / "hostile"
    path.write_bytes(good)
    play(path)


def described(good: bytes, description: Any) -> bytes:
    """The bank with another description."""
    text = json.dumps(description).encode()
    rooms_at = (HEADER_BYTES + len(text) + 63) // 64 * 64
    old_rooms_at, old_waveforms_at = struct.unpack_from("<QQ", good, 24)
    rest = good[old_rooms_at:]
    header = bytearray(good[:HEADER_BYTES])
    struct.pack_into(
        "<IQQQ",
        header,
        12,
        len(text),
        rooms_at + len(rest),
        rooms_at,
        rooms_at + old_waveforms_at - old_rooms_at,
    )
    return bytes(header) + text.ljust(rooms_at - HEADER_BYTES, b"\0") + rest


def description_of(good: bytes) -> Any:
    length = int.from_bytes(good[12:16], "little")
    return json.loads(good[HEADER_BYTES : HEADER_BYTES + length])


@STEADY
@given(data=st.data())
def test_reader_survives_hostile_bank_descriptions(
    data: st.DataObject, banks: list[bytes], folder: Path
) -> None:
    good = data.draw(st.sampled_from(banks))
    description = description_of(good)
    for _ in range(data.draw(st.integers(1, 3))):
        path_in = data.draw(st.sampled_from(paths_into(description)))
        description = changed(description, path_in, data.draw(values), data.draw(st.booleans()))
    path = folder / "described"
    path.write_bytes(described(good, description))
    play(path)


def test_line_break_in_any_place_of_a_description_is_told_in_one_line(
    banks: list[bytes], folder: Path
) -> None:
    path = folder / "described"
    for good in banks:
        description = description_of(good)
        for path_in in paths_into(description):
            path.write_bytes(described(good, changed(description, path_in, "\n", False)))
            play(path)


@pytest.fixture(scope="module")
def model(folder: Path) -> bytes:
    dense_model.write_rooms(folder / "model")
    return (folder / "model").read_bytes()


def look_at(data: bytes) -> None:
    try:
        container.parse(data, "the file")
    except container.ModelError as error:
        assert str(error).startswith("the file: ") and "\n" not in str(error)


def sealed(data: bytes) -> bytes:
    """Set a valid checksum, as an attacker would."""
    return data[:16] + hashlib.sha256(data[48:]).digest() + data[48:]


@STEADY
@given(data=st.data())
def test_reader_survives_damaged_models(data: st.DataObject, model: bytes) -> None:
    where = data.draw(st.sampled_from([48, 1200, len(model)]))
    changes = data.draw(damage(where))
    spoilt = damaged(model, changes)
    look_at(spoilt)
    if len(spoilt) > 48:
        look_at(sealed(spoilt))


@STEADY
@given(data=st.data())
def test_reader_survives_hostile_model_descriptions(data: st.DataObject, model: bytes) -> None:
    length = int.from_bytes(model[12:16], "little")
    description = json.loads(model[48 : 48 + length])
    for _ in range(data.draw(st.integers(1, 3))):
        path_in = data.draw(st.sampled_from(paths_into(description)))
        description = changed(description, path_in, data.draw(values), data.draw(st.booleans()))
    text = json.dumps(description).encode()
    stated = data.draw(
        st.sampled_from([len(text)] * 6 + [0, len(text) + 1, 2**16, 2**16 + 1, 2**32 - 1])
    )
    look_at(
        sealed(model[:12] + struct.pack("<I", stated) + model[16:48] + text + model[48 + length :])
    )


def test_mutated_networks_raise_only_model_error(model: bytes, folder: Path) -> None:
    """TFLite on 60 mutated networks, each in its own process: loaded, rejected or contained."""
    script = Path(__file__).with_name("fuzz_networks.py")
    done = subprocess.run(
        [sys.executable, script, folder / "model", "--first", "1", "--count", str(60 * LONGER)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
