"""Offline tools: work on a store that no server holds open, with the layers the server itself is made of.

Nothing here speaks gRPC or knows the contract; what it does it does through `mien_server`'s storage, index and
embedding.
"""
