"""An embedder, from a checkpoint to a release: hidden states, pooled, as an ONNX graph."""
