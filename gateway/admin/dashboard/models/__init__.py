"""Pure view models: from domain values and numbers to exactly what a template prints."""
