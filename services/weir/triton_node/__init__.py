"""Weir's own model under Triton: a thin python-backend model over `weir.engine`."""
