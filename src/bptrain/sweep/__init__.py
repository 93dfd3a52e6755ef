"""Sweeps: a plan of trials, and what runs them."""
