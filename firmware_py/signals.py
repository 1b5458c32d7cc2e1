"""The signals that end a process of the pedal."""

from __future__ import annotations

import signal


def stop_signals() -> set[signal.Signals]:
    """Those that ask a process to leave. Not SIGHUP under nohup: a closed terminal is none of its business then."""
    found = {signal.SIGTERM, signal.SIGINT}
    return found if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else found | {signal.SIGHUP}


def interrupt_at_any() -> None:
    """From now on each of them raises KeyboardInterrupt, as Ctrl-C does: whoever has started something ends it on the way out. Main
    thread."""
    for number in stop_signals() - {signal.SIGINT}:
        signal.signal(number, signal.default_int_handler)
