"""Command lines of child processes where setpriv works, fails and is missing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_py.base import process


@pytest.fixture(autouse=True)
def not_known_yet() -> Iterator[None]:
    """Whether setpriv works is found out once."""
    process._setpriv.cache_clear()
    yield
    process._setpriv.cache_clear()


@pytest.mark.parametrize("setpriv", ["works", "fails", "missing"])
def test_command_runs_whether_or_not_setpriv_works(
    setpriv: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the sandbox of the services it fails: `activate capabilities: Operation not permitted`."""
    tool = tmp_path / "setpriv"
    if setpriv != "missing":
        tool.write_text(
            '#!/bin/sh\nshift 3\nexec env MARK=set "$@"\n'
            if setpriv == "works"
            else "#!/bin/sh\nexit 1\n"
        )
        tool.chmod(0o755)
    true = next(p for p in ("/usr/bin", "/bin") if os.path.exists(f"{p}/true"))
    for name in ("true", "env"):
        (tmp_path / name).symlink_to(f"{true}/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    command = process.ends_with_parent(["/bin/sh", "-c", "echo ${MARK-none}"])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ("set\n" if setpriv == "works" else "none\n")
