"""The board: table of controls, profiles, knobs, switches, LEDs, and their simulation."""
