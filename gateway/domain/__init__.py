"""Values that cross between stages. Frozen, without behaviour beyond their own arithmetic, and without I/O."""
