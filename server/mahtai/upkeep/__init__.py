"""Looking after the data of a server."""
