"""One request's way through a worker: rules, identity, limits, forwarding, and the record at the end."""
