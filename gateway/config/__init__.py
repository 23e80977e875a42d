"""sentinel.toml: read, checked, compiled into a Snapshot, published to the workers."""
