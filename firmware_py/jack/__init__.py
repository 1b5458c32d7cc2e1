"""JACK: its server, its keeper, its service."""
