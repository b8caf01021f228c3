"""One module for each command: `add` names its arguments, `_run` does the work and answers with the exit code."""
