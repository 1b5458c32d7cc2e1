"""Sources of rooms, and the rendering of their impulse responses."""
