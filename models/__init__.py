"""Room models: the generator, decoder and encoder runtimes, training, the shipped model."""
