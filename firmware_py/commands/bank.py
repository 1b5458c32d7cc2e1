"""`nverb bank build|info|verify|import|export`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def add_parsers(subparsers: Any) -> None:
    bank = subparsers.add_parser("bank", help="make, check and take apart banks of rooms")
    parts = bank.add_subparsers(title="what to do", metavar="WHAT", required=True)

    build = parts.add_parser("build", help="draw a bank of rooms on a grid of x, y and z")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    build.add_argument(
        "--grid", type=int, default=10, metavar="N", help="steps on each axis, 1 to 64 (default: %(default)s)"
    )
    build.add_argument("--name", default="rooms", help="the bank's name (default: %(default)s)")
    build.set_defaults(handler=_build)

    info = parts.add_parser("info", help="what a bank holds")
    info.add_argument("bank", type=Path, metavar="FILE")
    info.add_argument("--json", action="store_true", help="for programs")
    info.set_defaults(handler=_info)

    verify = parts.add_parser("verify", help="check every byte of a bank against its hash")
    verify.add_argument("bank", type=Path, metavar="FILE")
    verify.set_defaults(handler=_verify)

    importer = parts.add_parser("import", help="make a bank of own recordings (WAV, FLAC, AIFF)")
    importer.add_argument("folder", type=Path)
    importer.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    importer.add_argument(
        "--csv", type=Path, help="places: lines of name,x,y,z, each axis -2 to 2 (default: by decay along x)"
    )
    importer.set_defaults(handler=_import)

    exporter = parts.add_parser("export", help="write a bank's rooms and recordings as WAV files")
    exporter.add_argument("bank", type=Path, metavar="FILE")
    exporter.add_argument("folder", type=Path)
    exporter.add_argument(
        "--rate", type=int, default=48000, help="rate of synthesised rooms in Hz (default: %(default)s)"
    )
    exporter.set_defaults(handler=_export)


def _progress(what: str) -> Any:
    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{what} {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


def _build(args: argparse.Namespace) -> int:
    from bank.build import build
    from models.generator import room_at

    build(args.output, room_at, steps=args.grid, name=args.name, progress=_progress("room"))
    print(f"{args.output}: {args.grid**3} rooms, {args.output.stat().st_size} bytes")
    return 0


def _info(args: argparse.Namespace) -> int:
    from bank import Bank

    bank = Bank.open(args.bank)
    facts = {
        "name": bank.name,
        "bytes": args.bank.stat().st_size,
        "rooms": bank.steps**3,
        "axis": [bank.low, bank.high],
        "bands": bank.grid.bands,
        "frames": bank.grid.frames,
        "seconds": bank.grid.duration_s,
        "recordings": [
            {"name": w.name, "rate_hz": w.rate_hz, "channels": len(w.samples), "taps": w.samples.shape[1], "at": w.at}
            for w in bank.waveforms
        ],
    }
    if args.json:
        print(json.dumps(facts))
        return 0
    print(f"{bank.name}: {facts['rooms']} rooms on a grid of {bank.steps} steps an axis, {bank.low:g} to {bank.high:g}")
    print(
        f"maps of {bank.grid.bands} bands and {bank.grid.frames} frames, {bank.grid.duration_s:g} s; {facts['bytes']} bytes"
    )
    for w in bank.waveforms:
        place = ", ".join(f"{v:g}" for v in w.at)
        print(
            f"recording {w.name}: {len(w.samples)} channels, {w.samples.shape[1] / w.rate_hz:.2f} s, {w.rate_hz} Hz, at {place}"
        )
    return 0


def _verify(args: argparse.Namespace) -> int:
    from bank import Bank

    Bank.open(args.bank).verify()
    print(f"{args.bank}: whole")
    return 0


def _import(args: argparse.Namespace) -> int:
    from bank.folder import import_folder

    taken = import_folder(
        args.folder, args.output, coordinates=args.csv, report=lambda line: print(f"nverb: {line}", file=sys.stderr)
    )
    print(f"{args.output}: {taken} recordings")
    return 0


def _export(args: argparse.Namespace) -> int:
    from bank import Bank
    from bank.folder import export_folder

    bank = Bank.open(args.bank)
    bank.verify()
    print(f"{args.folder}: {export_folder(bank, args.folder, rate_hz=args.rate, progress=_progress('file'))} files")
    return 0
