"""`nverb board`: profiles, wiring and calibration of the knobs, switches and LEDs."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.names import shown
from firmware_py.base.say import say
from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from device.board import Board
    from device.check import Finding, Reading
    from device.profile import Profile
    from firmware_py.commands.parsers import Handler, Subparsers


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "board", help="the board: list and show profiles, check the wiring, calibrate"
    )
    verbs = parser.add_subparsers(title="what to do", metavar="VERB", required=True)

    lister = verbs.add_parser("list", help="all profiles")
    add_json(lister)
    lister.set_defaults(handler=_list)

    verbs.add_parser(
        "help", help="the reference of profiles: each key, and an example"
    ).set_defaults(handler=_help)

    def verb(name: str, handler: Handler, text: str, more: str = "") -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=more or None)
        added.add_argument(
            "profile", metavar="PROFILE", nargs="?", help="default: as `nverb settings` says"
        )
        added.set_defaults(handler=handler)
        return added

    add_json(verb("show", _show, "the wiring of a profile"))
    picture = verb(
        "picture",
        _picture,
        "draw the wiring, as a picture or as a table",
        "Draws the wiring of a profile: an SVG picture with -o, else a table.",
    )
    picture.add_argument(
        "-o", "--output", type=Path, metavar="FILE.svg", help="draw the picture there"
    )
    copy = verb(
        "copy",
        _copy,
        "start a profile of your own from another",
        "Writes NEW.toml into the data folder, for you to edit.",
    )
    copy.set_defaults(as_owner=True)
    copy.add_argument("new", metavar="NEW", help="the name of yours")
    check = verb(
        "check",
        _check,
        "read every input and report wrong wiring",
        "Reads every input and reports wrong wiring, with the remedy. In a terminal it asks you to "
        "turn the knobs.",
    )
    check.set_defaults(as_owner=True)
    check.add_argument(
        "--hands-off", action="store_true", help="only the checks that need no turning"
    )
    _add_calibrate(verb)


def _add_calibrate(verb: Callable[..., argparse.ArgumentParser]) -> None:
    calibrate = verb(
        "calibrate",
        _calibrate,
        "learn and save where the knobs' ends are",
        "Learns and saves where the knobs' ends are. The last step saves all of them at once: "
        "after a power cut either the old ends are active or the new ones. Stop the pedal first: "
        "it locks the board, unless it is simulated.",
    )
    calibrate.set_defaults(as_owner=True)
    calibrate.add_argument("--remove", action="store_true", help="go back to the profile's ends")
    calibrate.add_argument("--forget", dest="remove", action="store_true", help=argparse.SUPPRESS)


def _help(_: argparse.Namespace) -> int:
    from device.profile import REFERENCE

    print(REFERENCE.read_text(), end="")
    return 0


def _picture(args: argparse.Namespace) -> int:
    from device import profile, wiring
    from dsp.errors import UserError
    from firmware_py.base.paths import data_dir
    from models.files import write_atomically

    board = profile.load(_named(args), data_dir())
    if args.output is None:
        print(wiring.table(board))
        return 0
    if args.output.suffix != ".svg":
        raise UserError(f"{args.output}: choose a name that ends in .svg")
    data = wiring.svg(board).encode()
    write_atomically(args.output, lambda file: file.write(data), durable=False)
    print(f"{args.output}: {board.title}")
    return 0


def _list(args: argparse.Namespace) -> int:
    from device import profile
    from dsp.errors import UserError, reason
    from firmware_py.base.paths import data_dir

    rows = []
    for name, path in profile.paths(data_dir()).items():
        title = fault = ""
        try:
            title = profile.load(str(path)).title
        except (UserError, OSError) as error:
            fault = reason(error)
        is_own = path.parent != profile.PACKAGED
        rows.append(
            {"name": name, "title": title, "path": str(path), "own": is_own, "fault": fault}
        )
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        title = str(row["title"] or f"cannot be used: {row['fault']}")
        own = f" ({row['path']})" if row["own"] else ""
        print(shown(f"{row['name']:16} {title}{own}"))
    return 0


def _show(args: argparse.Namespace) -> int:
    from device.calibration import load_calibration
    from device.controls import describe_range
    from device.profile import load
    from firmware_py.base.paths import data_dir

    profile = load(_named(args), data_dir())
    ends, complaint = load_calibration(data_dir(), profile.name)
    if complaint:
        say(complaint)
    if args.json:
        print(json.dumps(_facts(profile, ends), indent=2))
        return 0
    print(f"{profile.title}\n{shown(str(profile.path))}\n{profile.scan_hz:g} scans a second")
    for number, adc in enumerate(profile.adcs, 1):
        print(f"adc {number}    {adc}")
    print(f"\n{'knob':12} {'adc':>3} {'channel':>7}  {'range':22} {'law':7} {'takeover':8} ends")
    for knob in profile.knobs:
        low, high = ends.get(knob.control.name, (knob.low, knob.high))
        note = (", calibrated" if knob.control.name in ends else "") + (
            ", inverted" if knob.inverted else ""
        )
        print(
            f"{knob.control.name:12} {knob.adc + 1:3} {knob.channel:7}  "
            f"{describe_range(knob.control):22} {knob.control.law:7} {knob.takeover:8} "
            f"{low:.1%} to {high:.1%}{note}"
        )
    lines = f"gpiochip {profile.gpiochip}" if profile.gpiochip is not None else "BCM"
    print(f"\nlines ({lines})")
    for switch in profile.switches:
        kind = ", inverted" if switch.inverted else ", latching" if switch.latching else ""
        long = f", long: {switch.long.action}" if switch.long else ""
        print(f"{switch.line:4}  switch  {switch.action}{long}{kind}")
    for led in profile.leds:
        print(f"{led.line:4}  led     {led.shows}")
    return 0


def _facts(profile: Profile, ends: Mapping[str, tuple[float, float]]) -> dict[str, object]:
    """What `show` prints, for programs."""
    from dataclasses import asdict, replace

    return {
        "name": profile.name,
        "title": profile.title,
        "path": str(profile.path),
        "scan_hz": profile.scan_hz,
        "gpiochip": profile.gpiochip,
        "adcs": [asdict(adc) for adc in profile.adcs],
        "knobs": [
            asdict(replace(knob, low=low, high=high))
            | {
                "control": knob.control.name,
                "minimum": knob.control.minimum,
                "maximum": knob.control.maximum,
                "law": knob.control.law,
                "calibrated": knob.control.name in ends,
            }
            for knob in profile.knobs
            for low, high in [ends.get(knob.control.name, (knob.low, knob.high))]
        ],
        "switches": [asdict(switch) for switch in profile.switches],
        "leds": [asdict(led) for led in profile.leds],
    }


def _named(args: argparse.Namespace) -> str:
    from firmware_py.state import settings

    return args.profile or settings.load().profile


def _copy(args: argparse.Namespace) -> int:
    from device.profile import MAX_BYTES, find_path, load
    from dsp.errors import UserError
    from firmware_py.base.paths import data_dir
    from firmware_py.state.store import make_folder
    from models.files import is_shared
    from models.reading import read_file

    source = find_path(args.profile, data_dir())
    load(str(source))
    if not re.fullmatch(r"[\w-]{1,40}", args.new):
        raise UserError(f"{args.new!r} is no name for a profile: 1 to 40 letters, digits, - and _")
    target = data_dir() / "profiles" / f"{args.new}.toml"
    make_folder(target.parent)
    try:
        with open(target, "xb") as file:
            file.write(read_file(source, MAX_BYTES))
            if is_shared(target.parent):
                os.fchmod(file.fileno(), 0o664)
    except FileExistsError:
        raise UserError(f"{target} is there already: edit it, or take another name") from None
    print(
        f"{target}\nedit it, then: nverb board check {args.new} ; "
        f"nverb settings set profile={args.new}"
    )
    return 0


def _open(name: str) -> Board:
    """Open and lock the board. A running pedal has its lines and bus open."""
    from device.board import Board
    from device.profile import load
    from firmware_py.base.paths import Lock, data_dir

    if not load(name, data_dir()).is_simulated:
        _open.lock_file = Lock("control", "the pedal")  # type: ignore[attr-defined]
    return Board.open(name, data_dir())


def _check(args: argparse.Namespace) -> int:
    import time

    from device import check

    with _open(_named(args)) as board:
        print("hands off the board ...", flush=True)
        findings = check.at_rest(board, check.watch(board, 3.0, time.sleep))
        _print(findings)
        if not args.hands_off and sys.stdin.isatty():
            more = check.at_ends(board, *_both_ends(board))
            _print(more)
            findings += more
            if board.profile.switches:
                print("step once on every footswitch, one after the other (10 s) ...", flush=True)
                more = check.presses(board, 10.0, time.sleep)
                _print(more)
                findings += more
    wrong = sum(not finding.ok for finding in findings)
    print("all is well" if not wrong else f"{wrong} to mend")
    return 0 if not wrong else 1


def _calibrate(args: argparse.Namespace) -> int:
    from device import check
    from device.calibration import read_calibrations
    from device.profile import load
    from dsp.errors import UserError
    from firmware_py.base.paths import data_dir

    profile = load(_named(args), data_dir())
    kept = read_calibrations(data_dir())
    if args.remove:
        kept.pop(profile.name, None)
        _keep(kept)
        print(f"{profile.name}: the profile's ends are active")
        return 0
    if not sys.stdin.isatty():
        raise UserError("nverb board calibrate asks you to turn the knobs: run it in a terminal")
    with _open(_named(args)) as board:
        ends, findings = check.calibrated(board, *_both_ends(board))
    _print(findings)
    if not ends:
        raise UserError("no knob could be calibrated; nothing was changed")
    kept.setdefault(profile.name, {}).update({name: list(pair) for name, pair in ends.items()})
    _keep(kept)
    for name, (low, high) in ends.items():
        print(f"{name:12} {low:.1%} to {high:.1%}")
    print("kept")
    return 0 if not findings else 1


def _keep(calibrations: dict[str, dict[str, list[float]]]) -> None:
    from device.calibration import CALIBRATION
    from firmware_py.base.paths import data_dir
    from models.files import write_atomically

    data = json.dumps(calibrations, indent=1).encode()
    write_atomically(data_dir() / CALIBRATION, lambda file: file.write(data))


def _both_ends(board: Board) -> tuple[dict[str, Reading], dict[str, Reading]]:
    """Ask for all knobs at one end, then at the other; read them there for a second each."""
    import time

    from device import check
    from device.terminal import Hands, Keyboard

    readings = []
    with Keyboard() as keyboard:
        hands = Hands(board) if board.simulation is not None else None
        if hands is not None:
            print(
                "a simulated board: "
                + ", ".join(f"{'/'.join(keys)} {name}" for name, keys in hands.turns.items())
            )
        for side in ("right (clockwise)", "left (counter-clockwise)"):
            print(
                f"turn every knob fully to the {side}, then press Enter; Ctrl-C changes nothing",
                flush=True,
            )
            keys = ""
            while "\n" not in keys and "\r" not in keys:
                keys = keyboard.read()
                if "\x04" in keys:
                    raise KeyboardInterrupt
                if hands is not None:
                    hands.press(keys)
                board.scan()
                time.sleep(board.scan_s)
                print(f"\r{_live(board)}\x1b[K", end="", flush=True)
            readings.append(check.watch(board, 1.0, time.sleep))
            print()
    return readings[0], readings[1]


def _live(board: Board) -> str:
    """The readings of the inputs, in per cent of the converter's range."""
    parts = []
    for name, knob in board.knobs.items():
        reading = knob.filter.reading
        parts.append(f"{name} {'  -' if reading is None else f'{reading:4.0%}'}")
    return "   ".join(parts)


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        print(
            f"{'ok   ' if finding.ok else 'WRONG'} {finding.part:12} {shown(finding.text)}",
            flush=True,
        )
