"""`nverb preset`: save sounds under names, and play them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.names import counted, name_key, shown
from firmware_py.base.say import say
from firmware_py.commands.parsers import add_json, add_old_name

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Handler, Subparsers
    from firmware_py.state.presets import Presets


UNDO = "`nverb preset undo` takes that back"


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "preset",
        help="save, load, list, rename, remove presets",
        description="Presets hold all controls (but bypass, hold, lock), both scenes (`nverb "
        "scene`) and the bank. Yours are in "
        "the data folder. Those that come with nverb stay as they are: yours of the same name goes "
        "before, until you remove it. Footswitch and MIDI play yours, or while you have none, "
        "nverb's. NAME may be the number that `nverb preset list` prints.",
    )
    parser.set_defaults(as_owner=True)
    verbs = parser.add_subparsers(title="what to do", metavar="VERB", required=True)

    def verb(name: str, handler: Handler, text: str, *arguments: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = verbs.add_parser(name, help=text)
        for argument in arguments:
            added.add_argument(argument.lower(), metavar=argument)
        added.set_defaults(handler=handler)
        return added

    add_json(
        verb(
            "list",
            _list,
            "your presets with their MIDI program numbers, then those that come with nverb; * "
            "marks the startup preset; a preset whose bank cannot be opened has the reason",
        )
    )
    verb("save", _save, "save what plays now under a name", "NAME")
    verb("load", _load, "play a preset", "NAME")
    verb("next", _step, "play the next preset, as the footswitch does").set_defaults(by=1)
    verb("previous", _step, "play the previous preset").set_defaults(by=-1)
    add_json(verb("show", _show, "print the values of a preset", "NAME"))
    verb("rename", _rename, "give a preset another name", "NAME", "NEW")
    removed = verb("remove", _remove, "remove a preset; `nverb preset undo` brings it back", "NAME")
    add_old_name(verbs, "delete", removed)
    verb("undo", _undo, "take back the last change of the presets; up to ten, one by one")
    export = verb(
        "export",
        _export,
        "write presets to a file, for `nverb install` or `nverb push` to another pedal",
    )
    export.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    export.set_defaults(as_owner=False)  # root chooses the place of the file
    move = verb("move", _move, "put a preset at another program number", "NAME")
    move.add_argument("number", type=int, metavar="NUMBER", help="from 1")
    startup = verb(
        "startup", _startup, "print or choose the preset that plays at each start of the pedal"
    )
    chosen = startup.add_mutually_exclusive_group()
    chosen.add_argument("name", nargs="?", metavar="NAME", help="without it: print which it is")
    chosen.add_argument(
        "--none",
        action="store_true",
        help="no preset: what the knobs say, and defaults for the rest",
    )


def _presets() -> Presets:
    from firmware_py.base.paths import data_dir
    from firmware_py.state.factory_presets import factory_presets
    from firmware_py.state.presets import Presets

    return Presets(data_dir(), warn=say, factory=factory_presets())


def _list(args: argparse.Namespace) -> int:
    from firmware_py.rooms.source import rooms_fault

    presets = _presets()
    startup = presets.startup
    faults = {bank: rooms_fault(bank) for bank in presets.banks()}
    own, factory = presets.all(), presets.factory()
    own_are_played = bool(own)
    rows = [
        {
            "number": number if is_factory != own_are_played else None,
            "name": preset.name,
            "bank": preset.bank,
            "startup": preset == startup,
            "factory": is_factory,
            "fault": faults.get(preset.bank) or "",
        }
        for is_factory, group in ((False, own), (True, factory))
        for number, preset in enumerate(group, 1)
    ]
    if args.json:
        print(json.dumps(rows))
        return 0
    for place, row in enumerate(rows):
        if row["factory"] and place == len(own):
            print("with nverb:")
        mark = " *" if row["startup"] else ""
        note = f"  (cannot play: {shown(str(row['fault']))})" if row["fault"] else ""
        print(f"{row['number'] or '-':>3} {row['name']}{mark}{note}")
    return 0


def _save(args: argparse.Namespace) -> int:
    from firmware_py.link.client import ask

    status = ask({"do": "status"})["status"]
    presets = _presets()
    before = {name_key(name) for name in presets.names()}
    room, scenes = status["room"], status.get("scenes") or {"a": {"morph": 0.0}, "b": {}}
    preset = presets.save(
        args.name,
        status["controls"] | scenes["a"],
        room["path"],
        str(room.get("residual", "")),
        scenes["b"],
    )
    ask({"do": "preset", "kept": preset.name})
    if name_key(preset.name) in before:
        print(f"{preset.name} replaced; {UNDO}")
    else:
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
    if args.json:
        print(json.dumps(vars(preset)))
        return 0
    print(f"bank: {preset.bank or '(the starter bank)'}")
    if preset.residual:
        print(f"an encoded room: {len(preset.residual)} characters of residual")
    for name, value in preset.values.items():
        b = preset.scene_b.get(name)
        rest = "" if b is None else f"; in scene B {format(find(name), b)}"
        print(f"{name} = {format(find(name), value)}{rest}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from dsp.errors import UserError
    from firmware_py.state.preset_file import to_bytes
    from models.files import write_atomically

    kept = _presets()
    presets = [kept.load(name) for name in args.names or kept.names()]
    if not presets:
        raise UserError("there are no presets: `nverb preset save NAME` saves what plays now")
    data = to_bytes(presets)
    write_atomically(args.output, lambda file: file.write(data))
    print(f"{args.output}: {counted(len(presets), 'preset')}")
    return 0


def _rename(args: argparse.Namespace) -> int:
    old, new = _presets().rename(args.name, args.new)
    print(f"{old} is {new} now")
    return 0


def _remove(args: argparse.Namespace) -> int:
    print(f"{_presets().remove(args.name)} removed; {UNDO}")
    return 0


def _undo(_: argparse.Namespace) -> int:
    before, after = ({p.name: p for p in presets} for presets in _presets().undo())
    told = [f"{name} is back" for name in after if name not in before]
    told += [f"{name} is gone" for name in before if name not in after]
    told += [
        f"{name} is as it was before"
        for name, preset in after.items()
        if name in before and before[name] != preset
    ]
    print("\n".join(told) or "order and startup preset are as before")
    return 0


def _move(args: argparse.Namespace) -> int:
    name, number = _presets().move(args.name, args.number - 1)
    print(f"{name} has number {number + 1} now")
    return 0


def _startup(args: argparse.Namespace) -> int:
    presets = _presets()
    if args.name is not None or args.none:
        presets.set_startup(args.name)
    startup = presets.startup
    nothing = "no startup preset: after power-on the knobs say, and the rest has its defaults"
    print(startup.name if startup else nothing)
    return 0
