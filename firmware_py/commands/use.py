"""`nverb use`: play an installed bank or model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.names import shown
from firmware_py.commands.installed import REFERENCE, carry_out, progress_shown

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    user = subparsers.add_parser(
        "use",
        help="play an installed bank or model",
        description="Play an installed bank or model, from now on.",
    )
    user.add_argument("name", metavar="NAME", help=f"{REFERENCE}, or built-in")
    user.add_argument(
        "--recording",
        metavar="NAME",
        help="of a bank of recordings: set x, y and z to this one's place; `nverb bank info` lists "
        "them. The pedal must run",
    )
    user.set_defaults(handler=_use)


def _use(args: argparse.Namespace) -> int:
    from dsp.errors import UserError
    from firmware_py.link.client import ask

    path = Path(args.name) if args.name.endswith(".nvbank") else None
    if args.recording and path is None:
        path = _installed(args.name)
    values = recording_values(path, args.recording) if args.recording and path else {}
    if path is not None and args.name.endswith(".nvbank"):
        if not path.exists():
            raise UserError(f"{path}: no such file; `nverb list` shows what is installed")
        print(f"{ask({'do': 'bank', 'path': str(path.resolve())})['bank']} plays")
    else:
        with progress_shown() as report:
            print(shown(carry_out({"do": "use", "name": args.name}, report)["text"]))
    if values:
        ask({"do": "set", "values": values})
        print(f"{shown(args.recording)} plays")
    return 0


def _installed(name: str) -> Path:
    from firmware_py.base.paths import data_dir
    from firmware_py.state.store import Store

    return Store(data_dir()).nearest(name).path


def recording_values(path: Path, wanted: str) -> dict[str, float]:
    """The controls at which a recording of a bank plays. Raises BankError, UserError."""
    from bank.folder import recording_number
    from bank.format import Bank
    from dsp.errors import UserError
    from models.latent import LATENT_HIGH, LATENT_LOW, knob_of

    waveforms = Bank.open(path).waveforms
    number = recording_number([waveform.name for waveform in waveforms], wanted, str(path))
    place = waveforms[number].at
    alone = sum(waveform.at == place for waveform in waveforms) == 1
    if alone and all(LATENT_LOW <= value <= LATENT_HIGH for value in place):
        knobs = dict(zip("xyz", (knob_of(value) for value in place), strict=True))
        return {**knobs, "recording": 0.0}
    if number >= 127:
        raise UserError(
            f"{path}: {wanted} shares its place with another and is beyond the 127 that the "
            "control `recording` reaches; give it a place of its own in coordinates.csv"
        )
    return {"recording": float(number + 1)}
