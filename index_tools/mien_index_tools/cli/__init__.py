"""The `mien-index` command: parses arguments and prints. The work is done by the modules beside this folder."""
