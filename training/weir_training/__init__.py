"""Everything that learns, exports and proves. One verb, one file."""
