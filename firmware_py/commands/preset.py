"""`nverb preset`: save sounds under names, and play them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.names import shown

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Handler, Subparsers
    from firmware_py.state.presets import Presets


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "preset",
        help="save, load, list, rename, delete presets",
        description="Presets hold all controls (but bypass and freeze) and the bank. They are in "
        "the data folder.",
    )
    parser.set_defaults(as_owner=True)
    verbs = parser.add_subparsers(title="what to do", metavar="VERB", required=True)

    def verb(name: str, handler: Handler, text: str, *arguments: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = verbs.add_parser(name, help=text)
        for argument in arguments:
            added.add_argument(argument.lower(), metavar=argument)
        added.set_defaults(handler=handler)
        return added

    verb(
        "list",
        _list,
        "names in order, with their MIDI program numbers; * marks the startup preset, and presets "
        "whose bank cannot be opened have the reason",
    )
    verb("save", _save, "save what plays now under a name", "NAME")
    verb("load", _load, "play a preset", "NAME")
    verb("next", _step, "play the next preset, as the footswitch does").set_defaults(by=1)
    verb("previous", _step, "play the previous preset").set_defaults(by=-1)
    verb("show", _show, "print the values of a preset", "NAME")
    verb("rename", _rename, "give a preset another name", "NAME", "NEW")
    verb("delete", _delete, "delete a preset", "NAME")
    export = verbs.add_parser(
        "export",
        help="write presets to a file, for `nverb install` or `nverb push` to another pedal",
    )
    export.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    export.set_defaults(handler=_export, as_owner=False)  # root chooses the place of the file
    move = verb("move", _move, "put a preset at another program number", "NAME")
    move.add_argument("number", type=int, metavar="NUMBER", help="from 1")
    startup = verb("startup", _startup, "the preset that plays after power-on")
    startup.add_argument(
        "name", nargs="?", metavar="NAME", help="without it: the defaults of all controls"
    )


def _presets() -> Presets:
    from firmware_py.base.paths import data_dir
    from firmware_py.state.presets import Presets

    return Presets(data_dir(), warn=_warn)


def _list(_: argparse.Namespace) -> int:
    from firmware_py.rooms.source import rooms_fault

    presets = _presets()
    startup = presets.startup
    faults = {bank: rooms_fault(bank) for bank in presets.banks()}
    for number, preset in enumerate(presets.all(), 1):
        fault = faults.get(preset.bank)
        mark = " *" if startup == preset else ""
        note = f"  (cannot play: {shown(fault)})" if fault else ""
        print(f"{number:3} {preset.name}{mark}{note}")
    return 0


def _save(args: argparse.Namespace) -> int:
    from firmware_py.link.client import ask

    status = ask({"do": "status"})["status"]
    presets = _presets()
    preset = presets.save(args.name, status["controls"], status["room"]["path"])
    ask({"do": "preset", "kept": preset.name})
    print(f"{preset.name} saved")
    return 0


def _load(args: argparse.Namespace) -> int:
    from firmware_py.link.client import ask

    print(f"{ask({'do': 'preset', 'load': args.name})['preset']} plays")
    return 0


def _step(args: argparse.Namespace) -> int:
    from firmware_py.link.client import ask

    print(f"{ask({'do': 'preset', 'step': args.by})['preset']} plays")
    return 0


def _show(args: argparse.Namespace) -> int:
    from device.controls import find, format

    preset = _presets().load(args.name)
    print(f"bank: {preset.bank or '(the starter bank)'}")
    for name, value in preset.values.items():
        print(f"{name} = {format(find(name), value)}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from dsp.errors import UserError
    from firmware_py.state.presets import to_bytes
    from models.files import write_atomically

    kept = _presets()
    presets = [kept.load(name) for name in args.names or kept.names()]
    if not presets:
        raise UserError("there are no presets: `nverb preset save NAME` saves what plays now")
    data = to_bytes(presets)
    write_atomically(args.output, lambda file: file.write(data))
    print(f"{args.output}: {len(presets)} presets")
    return 0


def _rename(args: argparse.Namespace) -> int:
    _presets().rename(args.name, args.new)
    return 0


def _delete(args: argparse.Namespace) -> int:
    _presets().delete(args.name)
    return 0


def _move(args: argparse.Namespace) -> int:
    _presets().move(args.name, args.number - 1)
    return 0


def _startup(args: argparse.Namespace) -> int:
    _presets().set_startup(args.name)
    return 0


def _warn(line: str) -> None:
    print(f"nverb: {shown(line)}", file=sys.stderr)
