"""Backup and restore of all that a server keeps."""
