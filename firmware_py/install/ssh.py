"""One call of the user's OpenSSH client, whose last message says why it failed."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from typing import IO

from dsp.errors import UserError
from firmware_py.install.inventory import PushTarget
from firmware_py.install.protocol import printable
from firmware_py.link.lines import MAX_LINE

NO_COMMAND = 127
"""The exit status of a shell that does not find the command."""
ENDING_S = 10.0


class SshCall:
    """A running ssh: `stdin` and `stdout` are the board's. Use `ssh_call`."""

    def __init__(self, board: PushTarget, words: list[str]) -> None:
        """Raises UserError without ssh."""
        self._board = board
        self._lines: list[str] = []
        try:
            self.process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise UserError("ssh is missing here: sudo apt-get install openssh-client") from None
        process = self.process
        assert process.stdin and process.stdout and process.stderr
        self.stdin, self.stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """Keep the last lines of ssh's stderr."""
        while line := self._stderr.readline(MAX_LINE):
            text = printable(line.decode(errors="replace")).strip()
            self._lines[:] = [*self._lines[-20:], text]

    def end(self) -> tuple[int, str]:
        """Wait for the end: the exit status and the last message.

        Raises UserError if the board has no nverb.
        """
        status = self.process.wait(ENDING_S)
        self._listener.join(2)
        last = next((line for line in reversed(self._lines) if line), "")
        if status == NO_COMMAND:
            raise UserError(
                f"no {self._board.ssh.command or 'nverb'} in the PATH of the board ({last}): "
                "install nverb there, or give its path with --command"
            )
        return status, last

    def close(self) -> None:
        """End it; bytes that ssh no longer reads are dropped."""
        self.process.kill()
        for stream in (self.stdin, self.stdout):
            _close(stream)
        self.process.wait()
        self._listener.join(2)
        _close(self._stderr)


@contextlib.contextmanager
def ssh_call(board: PushTarget, command: str, *, ask: bool) -> Iterator[SshCall]:
    """Run `nverb COMMAND` on the board. ask: ssh may ask for a password or to confirm a host key.

    Raises UserError without ssh.
    """
    call = SshCall(board, board.words(command, ask=ask))
    try:
        yield call
    finally:
        call.close()


def _close(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        stream.close()
