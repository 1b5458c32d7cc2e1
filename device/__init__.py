"""The board: the one table of controls, profiles, knobs, switches and LEDs, and the same on a simulated board."""
