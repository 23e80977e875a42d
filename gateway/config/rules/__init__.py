"""Whether the parts of a well-formed document fit together, and whether what it names is there."""
