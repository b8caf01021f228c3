"""One file for each command: its arguments (`add`) and what it does (`run`)."""
