"""Continuous-batching text generation on ONNX Runtime.

A step is: plan (a value, `scheduler.py`), one run of a `Model` (`step.py`, through `runner.py`), commit. Keys and
values lie in blocks (`blocks.py`), which prompts that begin alike share (`prefix.py`). One thread owns model, blocks
and per-request state (`engine.py`); `outbox.py` carries events to asyncio.
"""
