"""Continuous-batching generation on ONNX Runtime."""
