"""The signals that end a process of the pedal."""

from __future__ import annotations

import signal


def stop_signals() -> set[signal.Signals]:
    """The signals that ask a process to exit; without SIGHUP if it is ignored, as under nohup."""
    found = {signal.SIGTERM, signal.SIGINT}
    return found if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else found | {signal.SIGHUP}
