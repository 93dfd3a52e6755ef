"""The config: composed by Hydra, then read into typed settings, all problems at once."""
