"""Telling people: an outbox and the channels it feeds."""
