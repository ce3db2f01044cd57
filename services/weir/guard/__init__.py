"""Text in, verdict out. No I/O but reading the policy."""
