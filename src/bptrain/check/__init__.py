"""The check: what autograd computed, held against the reference backprop."""
