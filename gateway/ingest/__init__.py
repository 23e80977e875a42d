"""Signals from outside: alerts of other monitoring, events of programs, logs and hosts, as values of the domain."""
