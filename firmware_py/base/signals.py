"""The signals that end a process of the pedal."""

from __future__ import annotations

import signal


def stop_signals() -> set[signal.Signals]:
    """Those that ask a process to leave. Not SIGHUP under nohup: a closed terminal is none of its business then."""
    found = {signal.SIGTERM, signal.SIGINT}
    return found if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else found | {signal.SIGHUP}
