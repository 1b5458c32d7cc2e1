"""Opens mutated networks with valid checksums, each in a child process.

`python fuzz_networks.py FILE.nvmodel --count 5000` prints the outcomes. The exit status is 1 if an
exception other than ModelError was raised. TFLite itself crashes on a few in a thousand; for that
reason `models.probe` opens new models in a child process, too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import signal
import sys
from pathlib import Path

from models import container

HEAD = 48
EDGE = 6000
"""Bytes at either end of a network: mostly structure, not weights."""
SECONDS, MEMORY = 30, 4 << 30


def changed(data: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    made = bytearray(data)
    description = int.from_bytes(data[12:16], "little")
    start = HEAD + description
    size = container.parse(data, "the model").description.network_bytes
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(min(EDGE, size))
        at = start + (place if chance.random() < 0.5 else size - 1 - place)
        made[at] = chance.choice(
            [0, 1, 0xFF, chance.randrange(256), made[at] ^ 1 << chance.randrange(8)]
        )
    made[16:HEAD] = hashlib.sha256(made[HEAD:]).digest()
    return bytes(made)


def outcome(data: bytes) -> str:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            signal.alarm(SECONDS)
            container.Network(container.parse(data, "the model"), "the model")
            status = 0
        except container.ModelError:
            status = 2
        except MemoryError:
            status = 3
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return signal.Signals(os.WTERMSIG(ended)).name
    return ("loaded", "another exception", "rejected", "too large")[os.WEXITSTATUS(ended)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--first", type=int, default=1, help="seed of the first one")
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()
    good = args.model.read_bytes()
    found: dict[str, list[int]] = {}
    for seed in range(args.first, args.first + args.count):
        found.setdefault(outcome(changed(good, seed)), []).append(seed)
    for what, seeds in sorted(found.items()):
        print(f"{what}: {len(seeds)} (first seed {seeds[0]})")
    return int("another exception" in found)


if __name__ == "__main__":
    sys.exit(main())
