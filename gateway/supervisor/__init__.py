"""The process that owns the sockets and keeps the others alive: n workers and one control process."""
