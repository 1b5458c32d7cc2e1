"""Used by every process: log, paths, progress, signals, memory, boot, crash guard, version."""
