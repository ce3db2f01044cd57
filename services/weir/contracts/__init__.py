"""Words that every part of Weir shares. pydantic and the standard library only."""
