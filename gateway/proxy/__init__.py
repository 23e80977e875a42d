"""The way to the upstreams: which target, which connection, which headers."""
