"""Is something wrong? Detectors over recent traffic, and grouping of what they find. Pure."""
