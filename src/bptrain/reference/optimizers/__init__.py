"""The updates: one file an optimizer or family; see reference/update.py for the interface."""
