"""Torch modules that torch.nn does not have. They import torch, so components import them inside `build`."""
