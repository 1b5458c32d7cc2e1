"""The JACK server, its keeper and its service."""
