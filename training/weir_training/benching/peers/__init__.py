"""Other engines as contestants: how each is installed, what it converts a checkpoint to, how it is asked."""
