"""What a command says on stderr: one line that begins with the command, as `nverb bank import: `.

`firmware_py.base.log` is for the processes that stay; what they log without a part begins so, too.
"""

from __future__ import annotations

import sys

from dsp.names import shown


class _Speaker:
    command = "nverb"


def command() -> str:
    """The command that runs, such as `nverb bank import`."""
    return _Speaker.command


def speak_as(name: str = "nverb") -> None:
    """Let all that is said from now on begin with this command."""
    _Speaker.command = name


def say(text: str) -> None:
    """Print a line on stderr: an error that ends the command, or a note."""
    print(f"{_Speaker.command}: {shown(text)}", file=sys.stderr, flush=True)
