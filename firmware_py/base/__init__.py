"""What any process here stands on: log, paths, progress, signals, memory, boot, crash guard, version."""
