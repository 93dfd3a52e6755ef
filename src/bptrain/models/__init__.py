"""Networks by name: one file an architecture, each a dataclass of settings that builds a torch module."""
