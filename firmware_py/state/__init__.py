"""What survives a restart: store, presets, settings, session."""
