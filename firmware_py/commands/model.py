"""`nverb model train|eval`: room models made and measured. The desktop's heavy packages are imported by the handlers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dsp.errors import UserError
from firmware_py.commands import model_files


def add_parsers(subparsers: Any) -> None:
    model = subparsers.add_parser("model", help="train, import, measure and look into room models")
    parts = model.add_subparsers(title="what to do", metavar="WHAT", required=True)
    _add_train(parts)
    _add_eval(parts)
    model_files.add_parsers(parts)


def _add_train(parts: Any) -> None:
    train = parts.add_parser(
        "train",
        help="train a decoder and an encoder of rooms (needs the studio packages)",
        description="Trains a decoder and an encoder on rooms that the generator draws, and on your own recordings where a folder is "
        "given. Writes NAME/decoder.nvmodel, NAME/encoder.nvmodel and NAME/report.html when it is through; play it with `nverb run "
        "--bank NAME/decoder.nvmodel`. A training that was cut off goes on with --resume.",
    )
    train.add_argument(
        "-o", "--output", type=Path, required=True, metavar="NAME", help="folder for what is made"
    )
    train.add_argument(
        "--folder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="own IRs (WAV, FLAC, AIFF; any rate and channel count) to train on as well; may be given more than once",
    )
    train.add_argument("--rooms", type=int, help="rooms to draw (default: 48000)")
    train.add_argument("--epochs", type=int, help="times that each is seen (default: 40)")
    train.add_argument(
        "--hidden", type=int, help="width of the decoder's hidden layers (default: 256)"
    )
    train.add_argument(
        "--components", type=int, help="width of the layer before the last one (default: 72)"
    )
    train.add_argument(
        "--seed", type=int, help="of rooms and weights: the same seed, the same rooms (default: 1)"
    )
    train.add_argument(
        "--resume", action="store_true", help="go on where a training in NAME was cut off"
    )
    train.set_defaults(handler=_train)


def _add_eval(parts: Any) -> None:
    measure = parts.add_parser(
        "eval",
        help="measure a model: decay, clarity and level errors per octave band",
        description="Encodes rooms that the model has not seen (drawn ones, and the recordings of a folder), decodes and synthesises "
        "them, and measures original and copy after ISO 3382-1 in the octaves from 63 Hz to 8 kHz. Errors in dB are means, errors in "
        "percent medians. Takes about two seconds a room.",
    )
    measure.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="MODEL",
        help="folder or decoder file (default: the model that comes with nverb)",
    )
    measure.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="recordings to measure on as well, one channel of each",
    )
    measure.add_argument(
        "--rooms", type=int, default=100, help="held-out rooms to draw (default: %(default)s)"
    )
    measure.add_argument(
        "--plugin",
        type=Path,
        metavar="FILE",
        help="a decoder to stand beside, such as the imported plug-in's",
    )
    measure.add_argument("--json", action="store_true", help="for programs")
    measure.set_defaults(handler=_eval)


def _own_rooms(folders: list[Path]) -> Any:
    """Prepared rooms of all folders, told file by file where there is something to tell."""
    from bank.prepare import prepare
    from firmware_py.base.progress import Bar

    bar = Bar()
    rooms = []
    for folder in folders:
        made = prepare(
            folder, augment=True, progress=lambda done, of: bar("reading recordings", done, of)
        )
        bar.close()
        for _, remark, _ in made.files:
            if remark:
                print(remark)
        left = len(made.files) - made.taken
        print(
            f"{folder}: {made.taken} of {len(made.files)} files taken ({left} left out), {len(made.names)} rooms, "
            f"{len(made.rooms)} with stretched and shifted ones"
        )
        rooms += made.rooms
    return rooms


def _train(args: argparse.Namespace) -> int:
    from bank.prepare import packed
    from firmware_py.base.progress import Bar
    from models import evaluate, report, train
    from models.packages import studio_import

    for name in ("tensorflow", "keras", "matplotlib"):
        studio_import(name)
    asked = {
        name: getattr(args, name)
        for name in ("rooms", "epochs", "hidden", "components", "seed")
        if getattr(args, name) is not None
    }
    if args.resume and asked:
        raise UserError(
            "--resume goes on with what the training was begun with: leave the other numbers out"
        )
    settings = train.start(args.output, train.TrainSettings(**asked), resume=args.resume)
    own = packed(_own_rooms(args.folder)) if args.folder else None
    bar = Bar()

    def tell(line: str) -> None:
        bar.close()
        print(line, flush=True)

    trained = train.train(
        args.output, settings, own=own, progress=bar, tell=tell, resume=args.resume
    )
    for path in train.save(args.output, trained):
        print(f"{path}: {path.stat().st_size} bytes")
    rooms = report.ROOMS if settings.rooms >= 4000 else 4
    results = report.write(args.output / "report.html", trained, bar, rooms)
    bar.close()
    print("\n".join(evaluate.as_text(results, None)))
    print(f"{args.output / 'report.html'}: losses, reconstructions, acoustics per octave")
    return 0


def _eval(args: argparse.Namespace) -> int:
    from firmware_py.base.progress import Bar
    from models import axes, evaluate
    from models.decoder import SHIPPED, Decoder, Encoder

    if not 1 <= args.rooms <= 100_000:
        raise UserError(f"--rooms {args.rooms}: from 1 to 100000")
    folder = args.model or SHIPPED
    path = folder / "decoder.nvmodel" if folder.is_dir() else folder
    decoder, encoder = Decoder.open(path), Encoder.open(path.with_name("encoder.nvmodel"))
    recordings = _recordings(args.folder) if args.folder else []
    bar = Bar()
    codecs: list[evaluate.Codec] = [
        evaluate.OwnCodec(decoder, encoder),
        evaluate.OwnCodec(decoder, encoder, 3),
    ]
    if args.plugin:
        other = Decoder.open(args.plugin)
        codecs.append(
            evaluate.SearchCodec(
                other, progress=lambda done, of: bar(f"decoding {other.name}", done, of)
            )
        )
    drawn = generator_rooms(args.rooms)
    results = evaluate.evaluate(
        evaluate.held_out(drawn),
        codecs,
        "held-out rooms",
        lambda done: bar("held-out rooms", done, args.rooms),
    )
    if recordings:
        results += evaluate.evaluate(
            recordings,
            codecs,
            str(args.folder),
            lambda done: bar("recordings", done, len(recordings)),
        )
    synthesis = evaluate.synthesis(drawn, lambda done: bar("synthesis alone", done, args.rooms))
    spearman = axes.measure(decoder)
    bar.close()
    if args.json:
        print(json.dumps(evaluate.as_json(results, synthesis, spearman), indent=2))
    else:
        print("\n".join(evaluate.as_text(results, synthesis, spearman)))
    return 0


def generator_rooms(rooms: int) -> Any:
    """Held-out rooms: no training sees them."""
    from models import generator

    return generator.draw(rooms, generator.HELD_OUT_SEED)


def _recordings(folder: Path) -> list[Any]:
    """The first channel of each recording in a folder, as originals; what cannot be used is told."""
    from bank.folder import SOUND_FILES
    from bank.recording import RecordingError, read_recording
    from models.evaluate import original

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_FILES):
        try:
            samples, rate_hz = read_recording(path, any_channels=True)
            found.append(original(str(path.relative_to(folder)), samples[0], rate_hz))
        except RecordingError as error:
            print(f"nverb: {error}", file=sys.stderr)
        except ValueError:
            print(f"nverb: {path}: its first channel is silent", file=sys.stderr)
    if not found:
        raise UserError(f"{folder}: holds no recording that can be used")
    return found
