"""Optimizers: one file a family; those of torch.optim have its argument names, ranges and defaults."""
