"""`nverb midi`: which MIDI controller moves what, in the running pedal."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from dsp.names import shown
from firmware_py.commands.parsers import add_json, add_old_name

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers

WAIT_S = 30.0
POLL_S = 0.1
REST_S = 2.0
MODES = ("absolute", "momentary", "toggle", "trigger", "twos", "offset", "sign")
LAWS = ("linear", "log", "square", "cubic", "steps")


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "midi",
        help="list, learn and remove MIDI controllers",
        description="Which MIDI controller moves what. The running pedal does it and saves it; a "
        "program change plays the preset of that number. NAME is a control (`nverb controls`), "
        "'preset next', 'preset previous', 'recording next', 'recording previous', "
        "'scene toggle', 'tap' or 'measure'.",
    )
    verbs = parser.add_subparsers(title="what to do", metavar="VERB", required=True)
    lister = verbs.add_parser("list", help="ports, channel, controllers")
    add_json(lister)
    lister.set_defaults(handler=_list)
    learn = verbs.add_parser(
        "learn",
        help="assign what is moved most to NAME",
        description="Assigns to NAME the controller, note or program that is moved most, as soon "
        "as it is at rest.",
    )
    learn.add_argument("name", metavar="NAME")
    learn.add_argument(
        "--not", dest="refused", action="append", default=[], metavar="SOURCE", help="not this one"
    )
    learn.set_defaults(handler=_learn)
    _add_assign(verbs)
    calibrate = verbs.add_parser(
        "calibrate", help="find the ends that the controller of NAME reaches: expression pedals"
    )
    calibrate.add_argument("name", metavar="NAME")
    calibrate.set_defaults(handler=_calibrate)
    remover = verbs.add_parser(
        "remove", help="remove what was learnt: the usual controller counts again"
    )
    add_old_name(verbs, "forget", remover)
    remover.add_argument("name", nargs="?", metavar="NAME", help="without it: all of them")
    remover.set_defaults(handler=_remove)
    channel = verbs.add_parser("channel", help="listen to one channel, or to all")
    channel.add_argument("channel", metavar="CHANNEL", help="1 to 16, or all")
    channel.set_defaults(handler=_channel)
    listen = verbs.add_parser("listen", help="listen to some ports only, or to all")
    listen.add_argument("names", nargs="+", metavar="PORT", help="a part of its name; or all")
    listen.set_defaults(handler=_listen)
    out = verbs.add_parser(
        "out", help="tell motor faders and rings of LEDs the values of their controls"
    )
    out.add_argument("names", nargs="+", metavar="PORT", help="a part of its name; or all, or off")
    out.set_defaults(handler=_out)


def _add_assign(verbs: Subparsers) -> None:
    assign = verbs.add_parser(
        "assign",
        help="assign a controller, by its number, to NAME",
        description="MODE: absolute (follows the value; a switch is on from 64), momentary (on "
        "while pressed), toggle (each press switches), trigger (each message does); endless "
        "encoders: twos (1 up, 127 down), offset (65 up, 63 down), sign (1 up, 65 down).",
    )
    assign.add_argument("name", metavar="NAME")
    assign.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="20 or cc 20 (0 to 119), nrpn 133, rpn 0, note 60, program 6",
    )
    assign.add_argument("--as", dest="mode", choices=MODES, metavar="MODE", help="see above")
    assign.add_argument("--minimum", type=float, metavar="VALUE", help="at the lower end")
    assign.add_argument("--maximum", type=float, metavar="VALUE", help="at the upper end")
    assign.add_argument(
        "--law", choices=LAWS, help="the taper (default: the control's, see `nverb controls`)"
    )
    assign.add_argument("--inverted", action="store_true", help="the other way round")
    assign.set_defaults(handler=_assign)


def _ask(**request: object) -> dict[str, Any]:
    from firmware_py.link.client import ask

    answer: dict[str, Any] = ask({"do": "midi"} | request)["midi"]
    return answer


def _list(args: argparse.Namespace) -> int:
    midi = _ask()
    if args.json:
        print(json.dumps(midi))
        return 0
    print(
        f"with {midi['api']}, channel {midi['channel'] or 'all'}"
        + (f": {shown(midi['fault'])}" if midi["fault"] else "")
    )
    print("port     nverb-midi:in, to be connected to")
    for port in midi["ports"]:
        print(shown(f"plug     {port}"))
    if midi["listen"]:
        print(shown(f"listen   only to ports named {', '.join(midi['listen'])}"))
    if midi["out"] is not None:
        print(shown(f"out      nverb-midi:out, to {', '.join(midi['out']) or 'all ports'}"))
    if midi["last"]:
        print(shown(f"last     {midi['last']}"))
    rows = midi["assignments"]
    for name in sorted(rows, key=lambda name: _order(rows[name]["source"])):
        print(f"{rows[name]['text']:<24} {name}")
    return 0


def _order(source: str) -> tuple[str, int]:
    kind, _, number = source.partition(" ")
    return kind, int(number)


def _learn(args: argparse.Namespace) -> int:
    refused = list(args.refused)
    while True:
        learnt = _learn_once(args.name, refused)
        print(f"{learnt['text']} belongs to {learnt['name']}{_without(learnt['from'])}")
        if not sys.stdin.isatty():
            return 0
        if not input("keep it? Enter: yes, n: not this one ").strip().lower().startswith("n"):
            return 0
        refused.append(learnt["source"])


def _learn_once(name: str, refused: list[str]) -> dict[str, Any]:
    from dsp.errors import UserError

    _ask(learn=name, **({"not": refused} if refused else {}))
    print(f"move the controller for {name} (Ctrl-C: cancel) ...", flush=True)
    try:
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            learnt: dict[str, Any] | None = _ask()["learnt"]
            if learnt is not None and "error" in learnt:
                raise UserError(learnt["error"])
            if learnt is not None:
                return learnt
            time.sleep(POLL_S)
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
    given = {
        "mode": args.mode,
        "minimum": args.minimum,
        "maximum": args.maximum,
        "law": args.law,
        "inverted": args.inverted or None,
    }
    options = {key: value for key, value in given.items() if value is not None}
    midi = _ask(assign=args.name, source=" ".join(args.source), options=options)
    print(f"{midi['assigned']} belongs to {args.name}")
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    from dsp.errors import UserError

    _ask(calibrate=args.name)
    print(f"move the controller of {args.name} from end to end (Ctrl-C: cancel) ...", flush=True)
    seen, since, until = None, time.monotonic(), time.monotonic() + WAIT_S
    try:
        while time.monotonic() < until:
            ends = _ask()["calibrating"]
            if ends is None:
                raise UserError("another command has ended the calibration")
            if ends != seen:
                seen, since = ends, time.monotonic()
            if ends["enough"] and time.monotonic() - since >= REST_S:
                midi = _ask(calibrate=args.name, done=True)
                print(f"{midi['assignments'][ends['name']]['text']} belongs to {ends['name']}")
                return 0
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        _ask(calibrate=None)
        raise
    _ask(calibrate=None)
    raise UserError(
        f"the controller of {args.name} was not moved from end to end within {WAIT_S:g} s: its "
        "ends are as before"
    )


def _remove(args: argparse.Namespace) -> int:
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


def _listen(args: argparse.Namespace) -> int:
    names = [] if args.names == ["all"] else args.names
    _ask(listen=names)
    print(f"listening to {'ports named ' + ', '.join(names) if names else 'all ports'}")
    return 0


def _out(args: argparse.Namespace) -> int:
    if args.names == ["off"]:
        _ask(out=None)
        print("MIDI out is off")
        return 0
    names = [] if args.names == ["all"] else args.names
    _ask(out=names)
    print(f"sending to {'ports named ' + ', '.join(names) if names else 'all ports'}")
    return 0
