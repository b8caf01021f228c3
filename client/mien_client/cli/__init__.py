"""The `mien` command. Only this folder and the quickstart import rich and Pillow (extra `cli`); it talks to servers
through `mien_client.Client` alone. One file in `commands` for each command.
"""
