"""Training: a run is built from settings, and `fit` yields what happens to it as records."""
