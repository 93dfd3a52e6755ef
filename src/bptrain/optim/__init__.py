"""Optimizers of torch.optim's kind that torch does not have."""
