"""`nverb model train|eval`: room models made and measured. The desktop's heavy packages are imported by the handlers."""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path
from typing import Any

from firmware_py.commands import model_files
from firmware_py.errors import UserError


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
        "--model NAME/decoder.nvmodel`. A training that was cut off goes on with --resume.",
    )
    train.add_argument("-o", "--output", type=Path, required=True, metavar="NAME", help="folder for what is made")
    train.add_argument(
        "--folder",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="own IRs (WAV, FLAC, AIFF; any rate and channel count) to train on as well; may be given more than once",
    )
    train.add_argument("--rooms", type=int, help="rooms to draw (default: 48000)")
    train.add_argument("--epochs", type=int, help="times that each is seen (default: 60)")
    train.add_argument("--hidden", type=int, help="width of the decoder's hidden layers (default: 256)")
    train.add_argument("--components", type=int, help="width of the layer before the last one (default: 72)")
    train.add_argument("--seed", type=int, help="of rooms and weights: the same seed, the same rooms (default: 1)")
    train.add_argument("--resume", action="store_true", help="go on where a training in NAME was cut off")
    train.set_defaults(handler=_train)


def _add_eval(parts: Any) -> None:
    measure = parts.add_parser(
        "eval",
        help="measure a model: decay, clarity and level errors per octave band",
        description="Encodes rooms that the model has not seen, decodes and synthesises them, and measures both after ISO 3382-1 in the "
        "octaves from 63 Hz to 8 kHz.",
    )
    measure.add_argument(
        "model", type=Path, nargs="?", metavar="MODEL", help="default: the model that comes with nverb"
    )
    measure.set_defaults(handler=_eval)


def require_studio(what: str) -> None:
    """Raises UserError when a package that `what` needs is not installed, with the command that installs it."""
    missing = [name for name in ("tensorflow", "keras", "ai_edge_litert") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}: pip install 'nverb[studio]' (64-bit desktop)")
    # Before TensorFlow is imported, or it greets with pages.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _own_rooms(folders: list[Path]) -> Any:
    """Prepared rooms of all folders, told file by file where there is something to tell."""
    from bank.prepare import prepare
    from firmware_py.progress import Bar

    bar = Bar()
    rooms = []
    for folder in folders:
        made = prepare(folder, augment=True, progress=lambda done, of: bar("reading recordings", done, of))
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
    require_studio("training")
    from bank.prepare import packed
    from firmware_py.progress import Bar
    from models import train

    asked = {
        name: getattr(args, name)
        for name in ("rooms", "epochs", "hidden", "components", "seed")
        if getattr(args, name) is not None
    }
    if args.resume and asked:
        raise UserError("--resume goes on with what the training was begun with: leave the other numbers out")
    settings = train.start(args.output, train.Settings(**asked), resume=args.resume)
    own = packed(_own_rooms(args.folder)) if args.folder else None
    bar = Bar()

    def tell(line: str) -> None:
        bar.close()
        print(line, flush=True)

    trained = train.train(args.output, settings, own=own, progress=bar, tell=tell, resume=args.resume)
    for path in train.save(args.output, trained):
        print(f"{path}: {path.stat().st_size} bytes")
    return 0


def _eval(args: argparse.Namespace) -> int:
    raise ValueError("measuring is not here yet")
