"""The command line: dispatch, and one file a verb."""
