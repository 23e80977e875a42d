"""Signals made up for trying things out: single alerts for a running gateway, and a story of five services."""
