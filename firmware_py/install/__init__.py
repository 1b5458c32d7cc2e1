"""Taking in files: banks, models, presets and profiles, from a disk or pushed over ssh."""
