"""`nverb measure`: the impulse response of a room or of gear, by JACK."""
