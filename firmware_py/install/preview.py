"""What an installation would do: the file is checked as the installer checks it, and stays here."""

from __future__ import annotations

import os
from pathlib import Path

from device import profile
from dsp.errors import UserError
from firmware_py.install import trial
from firmware_py.install.receive import HEAD, MAX_BYTES, kind_of, open_input
from firmware_py.state.preset_file import parse_presets
from firmware_py.state.store import KINDS, SHORT_HASH, hash_of, slot_name
from models.reading import toml_table


def preview(path: Path, kind: str | None, name: str | None) -> str:
    """What would be installed, in words. Raises UserError, ValueError, OSError."""
    file = open_input(path)
    try:
        found = kind_of(os.pread(file, HEAD, 0), path.name)
        if kind and kind != found:
            raise UserError(f"{path}: is a {found}, not a {kind}")
        if found in KINDS:
            trial.run(lambda: trial.check(path))
            reference = f"{slot_name(name or path.name)}@{hash_of(file)[:SHORT_HASH]}"
            return f"would install {found} {reference} ({os.fstat(file).st_size / 1e6:.2f} MB)"
        content = os.pread(file, MAX_BYTES[found] + 1, 0)
    finally:
        os.close(file)
    if found == "preset":
        names = [preset.name for preset in parse_presets(content, path.name, lambda _: None)]
        return f"would save presets {', '.join(names)}"
    own = slot_name(name or path.name)
    profile.parse(toml_table(content, path.name), path)
    return f"would write profile {own}"
