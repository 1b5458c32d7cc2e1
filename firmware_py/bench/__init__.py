"""What `nverb bench` measures. Nothing that is measured imports it."""
