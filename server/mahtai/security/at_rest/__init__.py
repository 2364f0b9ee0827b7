"""Data at rest: what lies on the server's disk is encrypted where the server has a master key."""
