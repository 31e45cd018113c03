"""The public socket classes: thin shells over the engine."""
