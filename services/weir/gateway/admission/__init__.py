"""Who may use the nodes now, who waits, and who is told to come back later."""
