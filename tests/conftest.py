"""One thread for every test: tiny tensors gain nothing from more, and the results don't depend on the machine."""

import torch

torch.set_num_threads(1)
