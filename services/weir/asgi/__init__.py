"""What both HTTP servers need below their own routes: a socket, a body, and noticing that the caller went away."""
