"""The index: which stored rows are nearest to a probe.

Exact search for small galleries; beyond them generations: inverted lists of short codes, built by a process of their
own from the vector file, measured on the gallery's own faces, published atomically, and always rescored from the
stored rows. Everything here is derived from the rows that storage hands over and can be thrown away.

Only `faiss_library` imports faiss. Nothing here may import storage, embedding, engine or anything above them.
"""

from mien_server.index.build_job import BuildJob
from mien_server.index.build_process import BuildFailed, BuildProcess
from mien_server.index.generation import ExpectedGeneration, Generation, load_generation
from mien_server.index.inspection import GenerationInspection, inspect_agreement, inspect_generation
from mien_server.index.manifest import GenerationRefused, LadderStep, Manifest, generation_files
from mien_server.index.plan import default_agreement, searches_exactly
from mien_server.index.publish import current_generation, current_or_none, prune, publish, retire, unpublish
from mien_server.index.rebuild_policy import (
    RebuildPolicy,
    RebuildReason,
    SealReason,
    wants_measurement,
    wants_rebuild,
    wants_seal,
)
from mien_server.index.request import EffortChoice, SearchReport, SearchRequest, SearchResult
from mien_server.index.sealing import measured_again, seal
from mien_server.index.search import search

__all__ = [
    "BuildFailed",
    "BuildJob",
    "BuildProcess",
    "EffortChoice",
    "ExpectedGeneration",
    "Generation",
    "GenerationInspection",
    "GenerationRefused",
    "LadderStep",
    "Manifest",
    "RebuildPolicy",
    "RebuildReason",
    "SealReason",
    "SearchReport",
    "SearchRequest",
    "SearchResult",
    "current_generation",
    "current_or_none",
    "default_agreement",
    "generation_files",
    "inspect_agreement",
    "inspect_generation",
    "load_generation",
    "measured_again",
    "prune",
    "publish",
    "retire",
    "seal",
    "search",
    "searches_exactly",
    "unpublish",
    "wants_measurement",
    "wants_rebuild",
    "wants_seal",
]
