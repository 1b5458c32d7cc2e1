"""`nverb scene`: the two scenes of what plays."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers

ACTS = {
    "a": "stores what plays as scene A",
    "b": "stores it as scene B",
    "toggle": "goes to the other scene within morph_glide_s, as the footswitch does",
    "forget": "drops scene B",
}


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "scene",
        help="the two scenes of a preset, for `morph`",
        description="A preset has a scene A and may have a scene B, and the control `morph` goes "
        "from one to the other. Play a preset (that is scene A), turn knobs, and `nverb scene b` "
        "stores what plays now as scene B; `nverb preset save` keeps both. Scenes differ in what "
        "knobs turn; switches and choices are common to both. Without a word: prints the controls "
        "that differ.",
    )
    parser.add_argument(
        "act",
        nargs="?",
        type=str.lower,
        choices=tuple(ACTS),
        help="; ".join(f"{act}: {text}" for act, text in ACTS.items()),
    )
    add_json(parser)
    parser.set_defaults(handler=_scene)


def _scene(args: argparse.Namespace) -> int:
    import json

    from device.controls import find, format
    from firmware_py.link.client import ask

    if args.act is None:
        scenes = ask({"do": "status"})["status"]["scenes"]
    else:
        scenes = ask({"do": "scene", "act": args.act})["scenes"]
    if args.json:
        print(json.dumps(scenes))
        return 0
    if scenes is None:
        what = "scene A is what plays" if args.act == "a" else "there is no scene B"
        print(f"{what}: turn knobs, then `nverb scene b` stores scene B")
        return 0
    print(f"{'':16} {'A':>10} {'B':>10}")
    for name, b in scenes["b"].items():
        control = find(name)
        print(f"{name:16} {format(control, scenes['a'][name]):>10} {format(control, b):>10}")
    return 0
