"""Weir: a guarded, observed text-generation service over CPU and GPU nodes."""

__version__ = "0.1.0"
