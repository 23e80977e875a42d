"""Records up: the spool a worker writes, and what control makes of it."""
