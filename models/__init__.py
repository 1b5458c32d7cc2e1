"""Room models: the procedural generator, decoder and encoder runtimes, training, the shipped model."""
