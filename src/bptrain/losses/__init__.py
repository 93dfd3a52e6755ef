"""Losses: one file a kind of task."""
