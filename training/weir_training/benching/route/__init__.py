"""`weir bench route`: the gateway's routing policy, and simpler ones, over simulated nodes and a simulated clock."""
