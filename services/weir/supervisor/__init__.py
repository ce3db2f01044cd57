"""Starts a node and a gateway, watches them, restarts what dies."""
