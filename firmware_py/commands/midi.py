"""`nverb midi`: which MIDI controller moves what, in the running pedal."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers

WAIT_S = 30.0


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "midi",
        help="list, learn and forget MIDI controllers",
        description="Which MIDI controller moves what. The running pedal does it and saves it; a "
        "program change plays the preset of that number. NAME is a control (`nverb controls`), "
        "'preset next', 'preset previous' or 'tap'.",
    )
    verbs = parser.add_subparsers(title="what to do", metavar="VERB", required=True)
    verbs.add_parser("list", help="ports, channel, controllers").set_defaults(handler=_list)
    learn = verbs.add_parser("learn", help="assign the next controller that is moved to NAME")
    learn.add_argument("name", metavar="NAME")
    learn.set_defaults(handler=_learn)
    assign = verbs.add_parser("assign", help="assign a controller, by its number, to NAME")
    assign.add_argument("name", metavar="NAME")
    assign.add_argument("cc", type=int, metavar="CC", help="0 to 119")
    assign.set_defaults(handler=_assign)
    forget = verbs.add_parser("forget", help="go back to the usual controller")
    forget.add_argument("name", nargs="?", metavar="NAME", help="without it: all of them")
    forget.set_defaults(handler=_forget)
    channel = verbs.add_parser("channel", help="listen to one channel, or to all")
    channel.add_argument("channel", metavar="CHANNEL", help="1 to 16, or all")
    channel.set_defaults(handler=_channel)


def _ask(**request: object) -> dict[str, Any]:
    from firmware_py.link.client import ask

    answer: dict[str, Any] = ask({"do": "midi"} | request)["midi"]
    return answer


def _list(_: argparse.Namespace) -> int:
    midi = _ask()
    print(
        f"with {midi['api']}, channel {midi['channel'] or 'all'}"
        + (f": {midi['fault']}" if midi["fault"] else "")
    )
    print("port     nverb-midi:in, to be connected to")
    for port in midi["ports"]:
        print(f"plug     {port}")
    if midi["last"]:
        print(f"last     {midi['last']}")
    for name, cc in sorted(midi["cc"].items(), key=lambda row: row[1]):
        print(f"CC {cc:3}   {name}")
    return 0


def _learn(args: argparse.Namespace) -> int:
    from dsp.errors import UserError

    _ask(learn=args.name)
    print(f"move the controller for {args.name} (Ctrl-C: cancel) ...", flush=True)
    try:
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            learnt = _ask()["learnt"]
            if learnt is not None and "error" in learnt:
                raise UserError(learnt["error"])
            if learnt is not None:
                print(f"CC {learnt['cc']} belongs to {learnt['name']}{_without(learnt['from'])}")
                return 0
            time.sleep(0.1)
    except KeyboardInterrupt:
        _ask(learn=None)
        raise
    _ask(learn=None)
    raise UserError(
        f"no controller was moved within {WAIT_S:g} s: nothing was learnt "
        "(`nverb midi list` shows the ports)"
    )


def _without(names: list[str]) -> str:
    return f"; {', '.join(names)} has none now" if names else ""


def _assign(args: argparse.Namespace) -> int:
    _ask(assign=args.name, cc=args.cc)
    print(f"CC {args.cc} belongs to {args.name}")
    return 0


def _forget(args: argparse.Namespace) -> int:
    _ask(forget=args.name)
    print(
        "the usual controllers are active"
        if args.name is None
        else f"{args.name}: the usual controller is active"
    )
    return 0


def _channel(args: argparse.Namespace) -> int:
    from dsp.errors import UserError

    if args.channel != "all" and not args.channel.isdecimal():
        raise UserError(f"{args.channel!r}: a MIDI channel is 1 to 16, or all")
    _ask(channel=None if args.channel == "all" else int(args.channel))
    print(f"listening on {'all channels' if args.channel == 'all' else 'channel ' + args.channel}")
    return 0
