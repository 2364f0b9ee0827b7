"""Who may use the server: so far the token that a server on one computer makes for its user."""
