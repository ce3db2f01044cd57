"""Which backend takes this request."""
