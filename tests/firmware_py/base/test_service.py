"""The pedal as a service: a second one beside it is refused, and messages name systemctl."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsp.errors import UserError
from firmware_py.base import paths, service
from firmware_py.cli import main
from firmware_py.link.client import ask


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service of this system, as its files show it; returns its runtime folder."""
    for name in ("NVERB_RUNTIME_DIR", "NVERB_DATA_DIR"):
        monkeypatch.delenv(name)
    places = {name: tmp_path / name for name in ("run", "lib", "systemd", "unit", "user")}
    for place in places.values():
        place.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(places["user"]))
    monkeypatch.setattr(paths, "SERVICE_RUNTIME", places["run"])
    monkeypatch.setattr(paths, "SERVICE_DATA", places["lib"])
    monkeypatch.setattr(service, "SYSTEMD", places["systemd"])
    monkeypatch.setattr(service, "UNIT", places["unit"])
    return places["run"]


@pytest.mark.parametrize("name", service.LOCKS)
def test_run_beside_the_service_is_refused_and_names_systemctl(
    installed: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("NVERB_RUNTIME_DIR", str(installed))
        lock = paths.Lock(name, "the service")
    try:
        assert main(["run", "--dummy"]) == 1
    finally:
        lock.close()
    told = capsys.readouterr().err
    assert "sudo systemctl stop nverb.target" in told and told.count("\n") == 1
    service.require_stopped()  # its lock is free


def test_second_pedal_with_folders_of_its_own_is_allowed(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(installed))
    lock = paths.Lock("control", "the service")
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path / "own"))
    service.require_stopped()
    lock.close()


def test_remedies_name_systemctl_where_the_service_is(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"`sudo systemctl start nverb\.target`") as error:
        ask({"do": "status"})
    assert "nverb run" not in str(error.value)
    assert "nverb run" not in service.how_to_restart() + service.where_the_log_is()
    service.UNIT.rmdir()
    with pytest.raises(UserError, match="`nverb run`"):
        ask({"do": "status"})
