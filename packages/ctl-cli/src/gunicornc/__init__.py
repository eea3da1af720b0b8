"""gunicornc: the operator's command line client of a running Gunicorn server. ``cli.main`` is the command."""
