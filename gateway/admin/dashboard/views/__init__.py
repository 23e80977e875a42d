"""One module per page: reads the ports, asks a model for the view, renders a template."""
