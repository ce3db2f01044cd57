"""A small classifier of texts, from rows to a release: the guard's optional second tier."""
