"""Where training data comes from: one file a kind of source, each loads into a Dataset of tensors."""
