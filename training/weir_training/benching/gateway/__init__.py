"""`weir bench gateway`: what the gateway adds, measured against a node that costs next to nothing."""
