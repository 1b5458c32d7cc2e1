"""The store under names that read alike, names of an attacker, and a disk that cannot be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from firmware_py.state.store import BUILT_IN, Slot, State, Store, StoreError, slot_name


def add(store: Store, name: str, digit: str, kind: str = "bank") -> Slot:
    """A slot, active from now on. Its content is none: nothing here opens it."""
    store.make()
    part = store.incoming / f"{digit}.part"
    part.write_bytes(digit.encode())
    with store.changing():
        slot = store.add(part, kind, name, digit * 64)
        store.switch(State({**store.current().slots, kind: slot}, kind))
    return slot


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    add(store, "halls", "a")
    add(store, "voices", "b", "model")
    return store


def test_slots_are_found_by_names_that_read_alike(store: Store) -> None:
    slot = add(store, "Cafe\u0301", "c")
    assert slot.name == "Caf\u00e9"
    for name in ("Caf\u00e9", "cafe\u0301", "CAF\u00c9", slot.reference):
        assert store.find(name) == slot
    with pytest.raises(StoreError, match="did you mean"):
        store.find("Cafe")


@pytest.mark.parametrize("first", [True, False])
def test_rollback_does_not_reach_a_bank_whose_installer_was_killed_before_the_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    store = Store(tmp_path)
    if not first:
        add(store, "halls", "a")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "_point", killed)
        add(store, "never", "b")
    add(store, "plates", "c")
    assert "never" in {slot.name for slot in store.slots()}
    names = [state.playing.name if state.playing else "" for state in store.states()]
    assert names == ["plates", *([] if first else ["halls"]), ""]


@pytest.mark.parametrize("name", ["\x1b[31mX", "a\nb", "\u202ea", "..", "", "a/b", "\udc80"])
def test_name_from_outside_becomes_a_printable_slot_name(name: str) -> None:
    plain = slot_name(name)
    assert plain.isprintable() and plain and "/" not in plain and not plain.startswith(".")


@pytest.mark.parametrize("what", ["file", "folder", "link out", "loop"])
def test_what_is_in_the_place_of_current_is_replaced(store: Store, what: str) -> None:
    current = store.root / "current"
    current.unlink()
    match what:
        case "file":
            current.touch()
        case "folder":
            current.mkdir()
        case "link out":
            current.symlink_to("/etc/000001")
        case "loop":
            current.symlink_to("current")
    assert {slot.name for slot in store.slots()} == {"voices", "halls"}
    with store.changing():
        store.switch(State({"bank": store.find("halls")}, "bank"))
    assert store.current().playing == store.find("halls")


def test_what_is_in_the_place_of_a_generation_stops_no_change(store: Store) -> None:
    generations = store.root / "generations"
    (generations / "000099").touch()
    (generations / "000500").symlink_to("/nonexistent")
    (generations / "000501").symlink_to(generations / "000001")
    halls = store.find("halls")
    with store.changing():
        store.switch(State({"model": store.find("voices")}, "model"))
        store.remove(halls)
        store.prune([])
    assert [slot.name for slot in store.slots()] == ["voices"]
    assert (generations / "000099").exists() and store.number() == 502


def test_planted_slot_and_generations_stop_nothing(store: Store) -> None:
    evil = f"\x1b[31mX\n.{'c' * 64}.nvbank"
    os.mkfifo(store.root / "slots" / evil)
    for name in ("\u0661", "9" * 200, "-1"):
        (store.root / "generations" / name).mkdir()
    assert store.current().playing == store.find("voices")
    planted = next(slot for slot in store.slots() if slot.sha256[0] == "c")
    assert planted.reference.isprintable()
    with pytest.raises(OSError, match="is a pipe"):
        planted.verify()
    add(store, "new", "d")
    assert store.current().slots["model"].name == "voices"


@pytest.mark.parametrize("call", ["readlink", "listdir"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_change_is_refused_while_the_state_cannot_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """A reader plays the built-in rooms then; a writer would lose the active model."""
    before, names = store.current(), sorted(os.listdir(store.root / "generations"))
    store.make()
    real = getattr(os, call)

    def fail(path, *rest, **more):
        if "generations" in os.fspath(path) or "current" in os.fspath(path):
            raise OSError(number, os.strerror(number), os.fspath(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, call, fail)
    assert store.current() == BUILT_IN
    with pytest.raises(OSError, match=os.strerror(number)), store.changing():
        pytest.fail("the change began")
    monkeypatch.undo()
    assert store.current() == before
    assert sorted(os.listdir(store.root / "generations")) == names


def test_sparse_slot_is_damaged_without_being_hashed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = store.find("halls")
    os.truncate(slot.path, 1 << 40)
    monkeypatch.setattr("firmware_py.state.store.hash_of", lambda _: pytest.fail("it is hashed"))
    with pytest.raises(StoreError, match="is damaged"):
        slot.verify()


def test_broken_link_is_mended_by_the_next_change(store: Store) -> None:
    current = store.root / "current"
    current.unlink()
    current.symlink_to("generations/what")
    assert store.current() == BUILT_IN
    slot = add(store, "new", "d")
    assert store.current().playing == slot


@pytest.mark.parametrize("plant", ["pipe", "link"])
def test_planted_lock_neither_blocks_nor_leads_elsewhere(store: Store, plant: str) -> None:
    lock, victim = store.root / ".lock", store.root / "victim"
    lock.unlink()
    os.mkfifo(lock) if plant == "pipe" else lock.symlink_to(victim)
    with pytest.raises(OSError, match="lock"), store.changing():
        pytest.fail("the change began")
    assert not victim.exists()
