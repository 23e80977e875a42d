"""The pages under /dashboard."""
