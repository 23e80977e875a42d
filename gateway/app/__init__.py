"""All wiring stands here: :mod:`gateway.app.edge` makes a worker, :mod:`gateway.app.control` makes control.

Both read top to bottom. Everything that must be closed is put on an AsyncExitStack where it is made, and closes in
reverse. Nothing else in the program knows which implementation stands behind a Protocol. They are two modules because a
worker must not load what only control needs: database, templates, detection.
"""
