"""The words of the Open Inference Protocol, which the node and the gateway's Triton-style surface both speak."""
