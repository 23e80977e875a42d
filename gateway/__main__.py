"""``python -m gateway`` is the ``sentinel`` command."""

from gateway.cli.main import main

if __name__ == "__main__":
    main()
