"""RUN: the folder of a search, its record, and everything that is read from it."""
