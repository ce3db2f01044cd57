"""Which node takes a request: health, load, breaker, retries before the first event."""
