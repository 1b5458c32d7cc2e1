"""What runs at a desk: supervisor, demo, render, encode, panel, doctor."""
