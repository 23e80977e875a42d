"""Passwords, sessions and API keys."""
