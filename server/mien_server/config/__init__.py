"""Limits and settings: every number that bounds a request or shapes the server, named, with its unit.

Nothing here does work.
"""
