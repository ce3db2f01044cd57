"""The Backend protocol and what speaks it."""
