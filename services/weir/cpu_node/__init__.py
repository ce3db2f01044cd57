"""A thin HTTP server over the engine (Open Inference Protocol v2)."""
