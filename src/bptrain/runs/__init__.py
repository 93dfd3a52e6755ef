"""Run directories: written while a run trains, read and listed afterwards."""
