"""`nverb bank build|info|verify|import|export|map|browse`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dsp.names import counted, free_name, name_key, shown
from firmware_py.base.say import say
from firmware_py.commands.parsers import add_json
from firmware_py.commands.reading_options import add_reading_options, reading_of

if TYPE_CHECKING:
    from bank.format import Bank, Point
    from firmware_py.commands.parsers import Subparsers
    from models.decoder import Decoder
    from models.residual import Residual


def add_parser(subparsers: Subparsers) -> None:
    bank = subparsers.add_parser("bank", help="make, check and take apart banks of rooms")
    parts = bank.add_subparsers(title="what to do", metavar="WHAT", required=True)
    _add_build(parts)
    _add_info(parts)
    _add_verify(parts)
    _add_import(parts)
    _add_export(parts)
    _add_map(parts)
    _add_browse(parts)


def _add_build(parts: Subparsers) -> None:
    build = parts.add_parser("build", help="draw a bank of rooms on a grid of x, y and z")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    build.add_argument(
        "--grid",
        type=int,
        default=10,
        metavar="N",
        help="steps on each axis, 1 to 64 (default: %(default)s)",
    )
    build.add_argument("--name", help="the bank's name (default: the model's, else rooms)")
    build.add_argument(
        "--model",
        metavar="NAME",
        help="draw this model's rooms; decoder comes with nverb (default: the generator's)",
    )
    build.add_argument(
        "--encode",
        type=Path,
        metavar="FOLDER",
        help="also encode the recordings of a folder with that model: around its place each plays "
        "as it was measured, for some hundred bytes",
    )
    build.add_argument(
        "--faithful",
        action="store_true",
        help="the plug-in's bank of an imported decoder: 16 kHz waveforms by Griffin-Lim, left and "
        "right at each point, 2000 at 10 steps",
    )
    build.add_argument(
        "--iterations",
        type=int,
        default=1000,
        metavar="N",
        help="of Griffin-Lim, for --faithful (default: %(default)s)",
    )
    build.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="send the work to the Dask cluster of this scheduler, such as tcp://host:8786",
    )
    build.set_defaults(handler=_build)


def _add_info(parts: Subparsers) -> None:
    info = parts.add_parser("info", help="what a bank holds")
    info.add_argument("bank", type=Path, metavar="FILE")
    add_json(info)
    info.set_defaults(handler=_info)


def _add_verify(parts: Subparsers) -> None:
    verify = parts.add_parser("verify", help="check every byte of a bank against its hash")
    verify.add_argument("bank", type=Path, metavar="FILE")
    verify.set_defaults(handler=_verify)


def _add_import(parts: Subparsers) -> None:
    importer = parts.add_parser(
        "import",
        help="make a bank of your own recordings in a folder and its subfolders: whatever "
        "libsndfile opens, by content",
    )
    importer.add_argument("folder", type=Path)
    importer.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    importer.add_argument(
        "--csv",
        type=Path,
        help="places: lines of name,x,y,z with the knobs' values, 0 to 9 (default: the folder's "
        "coordinates.csv, else the encoder finds them)",
    )
    importer.add_argument(
        "--encoder",
        metavar="NAME",
        help="an imported encoder.hdf5 that finds the places (default: nverb's own encoder)",
    )
    importer.add_argument(
        "--presets",
        action="store_true",
        help="also write a preset for each recording into OUTPUT.presets.json, to install with the "
        "bank",
    )
    add_reading_options(importer)
    importer.set_defaults(handler=_import)


def _add_export(parts: Subparsers) -> None:
    from firmware_py.jack.defaults import RATE_HZ

    exporter = parts.add_parser("export", help="write a bank's rooms and recordings as WAV files")
    exporter.add_argument(
        "bank", metavar="BANK", help="a file, or with --recording also an installed bank's name"
    )
    exporter.add_argument("folder", type=Path, nargs="?", help="for all of them")
    exporter.add_argument("--recording", metavar="NAME", help="only this one, to the file OUT.wav")
    exporter.add_argument(
        "-o", "--output", type=Path, metavar="OUT.wav", help="of --recording; - is standard output"
    )
    exporter.add_argument(
        "--rate",
        type=int,
        default=RATE_HZ,
        help="rate of synthesised rooms in Hz (default: %(default)s)",
    )
    exporter.set_defaults(handler=_export)


def _add_map(parts: Subparsers) -> None:
    cube = parts.add_parser(
        "map",
        help="picture of the rooms: T30, brightness and level over the knobs X and Y, in slices "
        "along Z",
    )
    cube.add_argument("picture", type=Path, metavar="FILE.png")
    cube.add_argument(
        "--bank",
        metavar="FILE",
        help="a bank or a model (default: the model that comes with nverb)",
    )
    cube.set_defaults(handler=_map)


def _add_browse(parts: Subparsers) -> None:
    browse = parts.add_parser(
        "browse",
        help="a page of recordings for any browser: pictures, T30 per octave, places, players",
    )
    browse.add_argument("source", type=Path, metavar="FOLDER|BANK")
    browse.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="for index.html and the sounds (default: the source's name with -page)",
    )
    browse.add_argument(
        "--clip", type=Path, metavar="FILE", help="the dry sound (default: a guitar phrase)"
    )
    add_reading_options(browse)
    browse.set_defaults(handler=_browse)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    from firmware_py.base.progress import Bar

    bar = Bar()
    try:
        yield lambda done, total: bar(what, done, total)
    finally:
        bar.close()


def _build(args: argparse.Namespace) -> int:
    from bank.build import build, build_from_model
    from bank.places import text_of
    from dsp.errors import UserError
    from firmware_py.base.paths import model_path
    from models.decoder import Decoder
    from models.generator import room_at
    from models.residual import place_of

    if args.model is None:
        for option in ("faithful", "scheduler", "encode"):
            if getattr(args, option):
                raise UserError(f"--{option} goes with --model NAME")
        with _bar("rooms") as progress:
            build(
                args.output, room_at, steps=args.grid, name=args.name or "rooms", progress=progress
            )
        print(f"{args.output}: {args.grid**3} rooms, {args.output.stat().st_size} bytes")
        return 0
    path = model_path(args.model)
    model = path.read_bytes()
    decoder = Decoder.open(path)  # first: the error of a bad model names its path
    if args.faithful and args.encode:
        raise UserError("--encode does not go with --faithful, a bank of the plug-in's waveforms")
    if args.faithful:
        from bank.faithful import build_faithful

        with _bar("waveforms") as progress:
            build_faithful(
                args.output,
                model,
                steps=args.grid,
                iterations=args.iterations,
                name=args.name or decoder.name,
                scheduler=args.scheduler,
                progress=progress,
            )
        print(f"{args.output}: {2 * args.grid**3} waveforms, {args.output.stat().st_size} bytes")
        return 0
    encoded = _encoded(args.encode, path, decoder) if args.encode else []
    for each, residual in encoded:
        print(f"  {text_of(place_of(residual))}  {shown(each)}")
    with _bar("rooms") as progress:
        build_from_model(
            args.output,
            model,
            steps=args.grid,
            name=args.name or decoder.name,
            scheduler=args.scheduler,
            encoded=encoded,
            progress=progress,
        )
    print(f"{args.output}: {args.grid**3} rooms, {args.output.stat().st_size} bytes")
    return 0


def _encoded(folder: Path, model: Path, decoder: Decoder) -> list[tuple[str, Residual]]:
    from bank.encoded import encode_folder
    from dsp.errors import UserError
    from models.decoder import Encoder

    if decoder.description.kind != "rooms":
        raise UserError(f"{model}: --encode works with nverb's models, not with the plug-in's")
    encoder = Encoder.open(model.with_name("encoder.nvmodel"))
    with _bar("recordings") as progress:
        return encode_folder(folder, decoder, encoder, report=say, progress=progress)


def _facts(bank: Bank, size: int) -> dict[str, object]:
    """What `nverb bank info --json` prints."""
    from bank.places import knobs_of
    from models.residual import place_of

    return {
        "name": bank.name,
        "bytes": size,
        "rooms": bank.steps**3,
        "axis": [bank.low, bank.high],
        "bands": bank.grid.bands,
        "frames": bank.grid.frames,
        "seconds": bank.grid.duration_s,
        "interleaved": bank.interleaved,
        "encoded": [
            {"name": name, "knobs": [round(v, 4) for v in knobs_of(place_of(residual))]}
            for name, residual in bank.encoded
        ],
        "recordings": [
            {
                "name": w.name,
                "rate_hz": w.rate_hz,
                "channels": w.channels,
                "taps": w.taps,
                "at": list(w.at),
                "knobs": [round(value, 4) for value in knobs_of(w.at)],
            }
            for w in bank.waveforms
        ],
    }


def _info(args: argparse.Namespace) -> int:
    from bank.format import Bank
    from bank.places import knobs_of, text_of
    from models.residual import place_of

    bank = Bank.open(args.bank)
    size = args.bank.stat().st_size
    if args.json:
        print(json.dumps(_facts(bank, size)))
        return 0
    if bank.steps:
        low, high = (knobs_of((end, 0.0, 0.0))[0] for end in (bank.low, bank.high))
        print(
            f"{bank.name}: {bank.steps**3} rooms at {bank.steps} positions of each knob, "
            f"{low:g} to {high:g}; {size} bytes"
        )
        print(
            f"maps of {bank.grid.bands} bands and {bank.grid.frames} frames, "
            f"{bank.grid.duration_s:g} s"
        )
    if bank.interleaved:
        taps, rate_hz = bank.waveforms[0].taps, bank.waveforms[0].rate_hz
        print(
            f"{bank.name}: the plug-in's grid: {len(bank.waveforms)} waveforms, left and right at "
            f"{bank.interleaved} positions of each knob, {taps} samples at {rate_hz} Hz; "
            f"{bank.comment}"
        )
        return 0
    for name, residual in bank.encoded:
        print(f"  {text_of(place_of(residual))}  {shown(name)}: encoded")
    if bank.waveforms:
        print(
            f"{bank.name}: {counted(len(bank.waveforms), 'recording')}"
            + ("" if bank.steps else f"; {size} bytes")
        )
    for w in bank.waveforms:
        channels = "1 channel" if w.channels == 1 else f"{w.channels} channels"
        print(
            f"  {text_of(w.at)}  {shown(w.name)}: {channels}, {w.taps / w.rate_hz:.2f} s, "
            f"{w.rate_hz} Hz"
        )
    return 0


def _verify(args: argparse.Namespace) -> int:
    from bank.format import Bank

    Bank.open(args.bank).verify()
    print(f"{args.bank}: intact")
    return 0


def _import(args: argparse.Namespace) -> int:
    from bank.folder import import_folder
    from bank.places import neighbours, text_of
    from firmware_py.base.paths import model_path
    from models.files import require_space
    from models.latent import KNOB_STEPS, LATENT_HIGH, LATENT_LOW

    presets = args.output.with_suffix(".presets.json")
    if args.presets:
        require_space(presets, 0)
    with _bar("recordings") as progress:
        made = import_folder(
            args.folder,
            args.output,
            coordinates=args.csv,
            encoder=model_path(args.encoder) if args.encoder else None,
            reading=reading_of(args),
            report=say,
            progress=progress,
        )
    places = made.places
    for name, at in places:
        print(f"  {text_of(at)}  {shown(name)}")
    for line in neighbours(places):
        say(line)
    left = f", {counted(made.left_out, 'file')} left out" if made.left_out else ""
    print(f"{args.output}: {counted(len(places), 'recording')}{left}")
    if made.moved:
        print(
            f"{made.moved} of them were at the place of another and were moved, by at most "
            f"{made.furthest / (LATENT_HIGH - LATENT_LOW) * KNOB_STEPS:.2f} of a knob"
        )
    if args.presets:
        written = _write_presets(presets, args.output, places)
        print(
            f"{presets}: {counted(written, 'preset')}; `nverb install {args.output}`, then "
            f"`nverb install {presets}`"
        )
    return 0


def _write_presets(path: Path, bank: Path, places: list[tuple[str, Point]]) -> int:
    """Write a preset for each recording of a bank, for the bank as it will be installed, as many as
    a pedal may have. Returns how many."""
    from bank.places import knobs_of
    from firmware_py.state.factory_presets import sound_defaults
    from firmware_py.state.preset_file import MAX_NAME, MAX_PRESETS, Preset, to_bytes
    from firmware_py.state.store import hash_of, reference_of
    from models.files import write_atomically
    from models.latent import KNOB_STEPS
    from models.reading import open_regular

    with open(open_regular(bank), "rb", buffering=0) as file:
        reference = reference_of(bank.name, hash_of(file.fileno()))
    presets: list[Preset] = []
    if len(places) > MAX_PRESETS:
        say(
            f"a pedal has at most {MAX_PRESETS} presets: the other "
            f"{counted(len(places) - MAX_PRESETS, 'recording')} of the bank get none; "
            "`nverb use BANK --recording NAME` and the control `recording` play them"
        )
    for name, at in places[:MAX_PRESETS]:
        taken = {name_key(preset.name) for preset in presets}
        unique = free_name(Path(name).stem, taken, MAX_NAME)
        knobs = (min(max(value, 0.0), KNOB_STEPS) for value in knobs_of(at))
        values = sound_defaults() | dict(zip("xyz", knobs, strict=True))
        presets.append(Preset(unique, values, reference))
    data = to_bytes(presets)
    write_atomically(path, lambda file: file.write(data))
    return len(presets)


def _export(args: argparse.Namespace) -> int:
    from bank.folder import export_folder
    from bank.format import Bank
    from dsp.errors import UserError

    one = args.recording is not None
    if one == (args.folder is not None) or one != (args.output is not None):
        raise UserError("export to a FOLDER, or one --recording NAME with -o OUT.wav")
    if one:
        return _export_recording(args)
    bank = Bank.open(Path(args.bank))
    bank.verify()
    with _bar("files") as progress:
        files = export_folder(bank, args.folder, rate_hz=args.rate, report=say, progress=progress)
    print(f"{args.folder}: {counted(files, 'file')}")
    return 0


def _export_recording(args: argparse.Namespace) -> int:
    """Write one recording. Raises BankError, StoreError, UserError, OSError."""
    from bank.folder import export_recording
    from firmware_py.base.paths import data_dir
    from firmware_py.state.store import Store

    is_file = args.bank.endswith(".nvbank")
    path = Path(args.bank) if is_file else Store(data_dir()).find(args.bank, "bank").path
    if str(args.output) != "-":
        export_recording(path, args.recording, args.output)
        return 0
    with tempfile.TemporaryDirectory(prefix="nverb-export-") as folder:
        part = Path(folder) / "recording.wav"
        export_recording(path, args.recording, part)
        with part.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    return 0


def _map(args: argparse.Namespace) -> int:
    from bank.picture import draw_cube
    from dsp.errors import UserError
    from firmware_py.base.paths import model_path
    from firmware_py.rooms.source import find_source
    from models.files import require_space

    require_space(args.picture, 0)
    if args.picture.suffix.lower() != ".png":
        raise UserError(f"{args.picture}: the picture is a PNG: give it a name that ends in .png")
    source = find_source(model_path(args.bank) if args.bank else None)
    with _bar("rooms") as progress:
        draw_cube(source, args.picture, progress)
    print(f"{args.picture}: {source.name}")
    return 0


def _browse(args: argparse.Namespace) -> int:
    from bank.browse import CLIP_HZ, Shown, write_page
    from bank.format import Bank
    from bank.found import recordings_in
    from bank.placing import finder
    from firmware_py.desk.browse import count, rooms_of
    from firmware_py.desk.phrase import phrase
    from firmware_py.desk.player import read_clip

    clip = read_clip(args.clip, CLIP_HZ, 4.0) if args.clip else phrase(CLIP_HZ, 4.0)
    source = args.source

    def rooms(progress: Callable[[int, int], None]) -> Iterator[Shown]:
        if not source.is_dir():
            bank = Bank.open(source)
            for number, room in enumerate(rooms_of(bank), 1):
                yield room
                progress(number, count(bank))
            return
        find = finder(None, say)
        for found in recordings_in(source, reading_of(args), report=say, progress=progress):
            if found.recording is not None:
                samples, rate_hz, _ = found.recording
                place = find(samples, rate_hz) if find else None
                yield Shown(shown(found.name), samples, rate_hz, place)

    out = args.output or Path(f"{source.resolve().with_suffix('').name}-page")
    with _bar("rooms") as progress:
        written = write_page(out, source.resolve().name, rooms(progress), clip)
    print(f"{out / 'index.html'}: {counted(written, 'room')}")
    return 0
