"""Durable jobs: what was accepted is finished or reported as failed, whatever happens to the processes."""
