"""Policy, input filter and exact streaming output guard: text in, verdict out."""
