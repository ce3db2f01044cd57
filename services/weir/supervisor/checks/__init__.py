"""What `weir doctor` looks at."""
