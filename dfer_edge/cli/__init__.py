"""The ``dfer-edge`` command, a file a subcommand."""
