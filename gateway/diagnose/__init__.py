"""Where and why: evidence, ranked hypotheses, and a report by rules or by a model."""
