"""The guard's search for literals in C, where it was built; without it the guard does the same in Python."""
