"""HTTP and nothing else: one router a resource; what they do is done by the services that they call."""
