"""The command `mien-server`: flags to settings, and the exit code. Nothing else lives here."""
