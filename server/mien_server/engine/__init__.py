"""What the store does, said in its own words: galleries, identities, enrolment, verification, identification, search.

The engine composes storage, index and embedding and keeps their promises together: a search and the people it
answers come from one snapshot, a write is resolved before it takes the writer. It knows no gRPC, no FAISS, no LMDB
and no network of neurons, and can be used from a notebook as it is.
"""

from mien_server.engine.engine import Engine
from mien_server.engine.options import EngineOptions

__all__ = ["Engine", "EngineOptions"]
