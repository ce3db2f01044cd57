"""Continuous-batching text generation on ONNX Runtime.

A step is: plan (a value, `scheduler.py`), run (`session.py` through `runner.py`), commit. One thread owns
graph, slots and per-request state (`engine.py`); `outbox.py` carries events to asyncio.
"""
