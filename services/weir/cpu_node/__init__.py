"""A thin HTTP server over the engine: Open Inference Protocol v2 with the names of Triton's vLLM backend."""
