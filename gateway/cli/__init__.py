"""The ``sentinel`` command. ``main`` lists the commands; each module beside it holds those that belong together."""
