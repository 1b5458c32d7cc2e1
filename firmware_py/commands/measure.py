"""`nverb measure`: the impulse response of a room or of gear, kept, encoded, played."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers
    from firmware_py.measure.measurement import Wanted
    from firmware_py.measure.result import Measured

WAIT_S = 2.0
"""Between the word that sound comes and the sound, if somebody may read it."""


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "measure",
        help="measure a room, a plate, a spring or a pedal, and play it",
        description="Plays sweeps through loudspeaker and microphone, or through gear, and makes a "
        "recording of it: kept in the bank `measured`, found on the knobs, played at once. The "
        "pedal is disconnected meanwhile. It begins very softly. See docs/measure.md.",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.wav", help="also write a file")
    parser.add_argument(
        "--name", help="of the recording (default: the preset's, the file's, else date and time)"
    )
    parser.add_argument("--preset", metavar="NAME", help="save a preset that plays it")
    parser.add_argument(
        "--inputs",
        default="1",
        metavar="A[,B]",
        help="one or two microphones: numbers of the card's inputs, or JACK ports (default: 1)",
    )
    parser.add_argument(
        "--outputs",
        default="1",
        metavar="A[,B]|pair",
        help="one loudspeaker; two, one after the other: with two inputs true stereo; or pair: 1 "
        "and 2 together (default: 1)",
    )
    parser.add_argument(
        "--length", default="auto", metavar="SECONDS", help="of the sweep (default: auto)"
    )
    parser.add_argument(
        "--level", default="auto", metavar="DB", help="of the sweep, dBFS (default: auto)"
    )
    parser.add_argument(
        "--range",
        type=float,
        default=65.0,
        metavar="DB",
        help="peak over noise that is wanted (default: 65)",
    )
    parser.add_argument(
        "--reference",
        metavar="INPUT",
        help="an input with a cable from the output: what is later than the cable is kept as delay",
    )
    parser.add_argument(
        "--gear",
        action="store_true",
        help="a pedal or a spring tank, by cable: the preset is as loud as it, without the dry "
        "sound",
    )
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page about it")
    parser.add_argument(
        "--file-only", action="store_true", help="write the file, change nothing of the pedal"
    )
    parser.add_argument(
        "--wait", action="store_true", help="wait 2 s before the first sound, as on a terminal"
    )
    add_json(parser)
    parser.set_defaults(handler=_measure)


def _measure(args: argparse.Namespace) -> int:
    from firmware_py.base.memory import return_freed_memory
    from firmware_py.measure.loop import open_loop
    from firmware_py.measure.measurement import Measurement

    return_freed_memory()
    outputs, inputs, wanted = _wanted(args)
    _check_files(args)
    _announce(wanted, args.wait or sys.stderr.isatty())
    at = datetime.now()
    with open_loop(outputs, inputs, os.environ.get("JACK_DEFAULT_SERVER")) as loop:
        measurement = Measurement(loop, wanted, _say)
        measurement.listen()
    measured = measurement.result()
    name = args.name or args.preset or (args.output.stem if args.output else "")
    name = name or at.strftime("Measured %Y-%m-%d %H.%M.%S")
    knobs = _keep(args, measured, name, at)
    _write_page(args, measured, knobs, name, at)
    return 0


def _wanted(args: argparse.Namespace) -> tuple[list[str], list[str], Wanted]:
    """Ports and what to measure. Raises UserError."""
    from dsp.errors import UserError
    from firmware_py.base.port_names import ports_of
    from firmware_py.measure.measurement import Wanted
    from firmware_py.measure.plan import HIGHEST_DB
    from firmware_py.measure.plan import LONGEST_S as LONGEST

    pair = args.outputs == "pair"
    try:
        outputs = list(ports_of("1,2" if pair else args.outputs))
        inputs = list(ports_of(args.inputs))
        cable = list(ports_of(args.reference)) if args.reference else []
    except ValueError as error:
        raise UserError(f"{error}: a number from 1, or CLIENT:PORT; two as A,B") from None
    if not outputs or not inputs or len(cable) > 1 or set(cable) & set(inputs):
        raise UserError(
            "--inputs and --outputs name one or two ports each, --reference another input"
        )
    length = None if args.length == "auto" else _number(args.length, "--length", 0.5, LONGEST)
    level = None if args.level == "auto" else _number(args.level, "--level", -80.0, HIGHEST_DB)
    if not 20 <= args.range <= 110:
        raise UserError(f"--range {args.range:g}: from 20 to 110")
    groups = ((0, 1),) if pair else tuple((number,) for number in range(len(outputs)))
    heard = [*inputs, *cable]
    reference = len(inputs) if cable else None
    wanted = Wanted(groups, len(heard), args.range, length, level, reference)
    return outputs, heard, wanted


def _number(text: str, option: str, low: float, high: float) -> float:
    from dsp.errors import UserError

    with contextlib.suppress(ValueError):
        if low <= float(text) <= high:
            return float(text)
    raise UserError(f"{option} {text}: auto, or from {low:g} to {high:g}")


def _check_files(args: argparse.Namespace) -> None:
    """What can be known before the sound. Raises UserError, OSError."""
    from dsp.errors import UserError
    from firmware_py.measure.keep import require_name
    from models.files import require_file, require_space

    for path, suffix in ((args.output, ".wav"), (args.report, ".html")):
        if path is not None:
            if path.suffix.lower() != suffix:
                raise UserError(f"{path}: give it a name that ends in {suffix}")
            require_file(path)
            require_space(path, 0)
    if args.file_only and (not args.output or args.preset):
        raise UserError("--file-only goes with -o OUT.wav, and without --preset")
    for name in (args.name, args.preset):
        if name is not None:
            require_name(name)


def _announce(wanted: Wanted, waits: bool) -> None:
    length = "" if wanted.sweep_s is None else f" of {wanted.sweep_s:g} s"
    _say(
        f"sweeps{length} sound in a moment, softly at first: be quiet, keep still, protect your "
        "ears; Ctrl-C ends it"
    )
    if waits:
        time.sleep(WAIT_S)


def _say(line: str) -> None:
    from dsp.names import shown

    print(f"nverb measure: {shown(line)}", file=sys.stderr)


def _keep(
    args: argparse.Namespace, measured: Measured, name: str, at: datetime
) -> dict[str, float] | None:
    """File, bank, preset, sound. The knobs' values for it, None if they were not looked for."""
    from firmware_py.base.paths import data_dir
    from firmware_py.commands.installed import carry_out, offer, progress_shown
    from firmware_py.install.desk_end import Content
    from firmware_py.install.receive import open_input
    from firmware_py.measure import keep
    from firmware_py.state.store import reference_of

    if args.output:
        keep.write_file(args.output, measured, name, at)
        _say(f"{args.output} written")
    if args.file_only:
        return None
    with tempfile.TemporaryDirectory(prefix="nverb-measure-") as folder, progress_shown() as report:
        path = Path(folder) / keep.FILE_NAME
        free, place = keep.grown_bank(data_dir(), path, name, measured, _say)
        content = Content.of(open_input(path), report.progress)
        text = carry_out(offer(path.name, "bank", content, ""), report, content)["text"]
        _say(text)
        bank = reference_of(path.name, content.sha256)
    values = keep.preset_values(measured, place, args.gear)
    saved = keep.save_preset(data_dir(), args.preset or "", values, bank)
    _play(saved, values)
    _say(f"recording {free} is in bank {keep.BANK}" + (f"; preset {saved} saved" if saved else ""))
    return {key: values[key] for key in "xyz"}


def _play(preset: str, values: dict[str, float]) -> None:
    """Play it, if a pedal runs."""
    from firmware_py.link.client import NoPedal, ask

    request: dict[str, object] = {"do": "preset", "load": preset}
    if not preset:
        request = {"do": "set", "values": {key: values[key] for key in "xyz"} | {"recording": 0.0}}
    with contextlib.suppress(NoPedal):
        ask(request, timeout_s=10.0)


def _write_page(
    args: argparse.Namespace,
    measured: Measured,
    knobs: dict[str, float] | None,
    name: str,
    at: datetime,
) -> None:
    from firmware_py.measure import report
    from models.files import write_atomically

    if args.json:
        print(json.dumps(report.as_json(measured, knobs)))
    else:
        print(report.as_text(measured, knobs))
    if args.report:
        page = report.as_page(measured, knobs, name, at).encode()
        write_atomically(args.report, lambda file: file.write(page))
        _say(f"{args.report} written")
