"""The rules, one file a concept. A new file here is found by itself."""
