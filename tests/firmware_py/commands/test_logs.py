"""`nverb logs` for a user who may not read the system's journal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dsp.errors import UserError
from firmware_py.commands import logs


@pytest.mark.parametrize("is_readable", [True, False])
def test_user_without_the_right_gets_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_readable: bool
) -> None:
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine/system.journal").touch()
    (tmp_path / "machine/user-1000.journal").touch()
    monkeypatch.setattr(os, "access", lambda *_: is_readable)
    if is_readable:
        logs.require_readable((tmp_path,))
        return
    with pytest.raises(UserError, match="sudo usermod -aG nverb,systemd-journal"):
        logs.require_readable((tmp_path,))
    logs.require_readable((tmp_path / "nowhere",))
