"""Executors: how each kind of action is carried out and taken back."""
