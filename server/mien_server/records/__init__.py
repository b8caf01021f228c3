"""The types that travel between layers: embeddings, faces, policies, counts, and the schema of what LMDB holds.

`store.proto` is what is written to disk; the modules beside it are what the code passes around. No I/O, no
foreign library but numpy and protobuf.
"""
