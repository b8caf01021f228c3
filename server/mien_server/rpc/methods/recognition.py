"""Recognition: detect, embed, verify, identify, search, and the two streams."""

from __future__ import annotations

from collections.abc import Callable

from mien.v1 import recognition_service_pb2 as pb
from mien_server.engine.types import FoundImages, NeighborsAnswer
from mien_server.errors import InvalidArgument
from mien_server.records.policies import DecisionPolicy
from mien_server.rpc.convert.faces import image_faces_message
from mien_server.rpc.convert.filters import search_choices
from mien_server.rpc.convert.policies import decision_policy
from mien_server.rpc.convert.recognition import (
    columns_response,
    identify_response,
    neighbors_response,
    probes,
    verify_response,
    verify_side,
)
from mien_server.rpc.convert.values import image_input
from mien_server.rpc.gate import Call
from mien_server.rpc.streams import StreamMethod

__all__ = [
    "STREAM_IDENTIFY",
    "STREAM_SEARCH",
    "detect_faces",
    "embed_faces",
    "identify",
    "search_faces",
    "verify_faces",
]


def detect_faces(request: pb.DetectFacesRequest, call: Call) -> pb.DetectFacesResponse:
    """DetectFaces."""
    found = call.engine.recognition.detect(
        [image_input(image) for image in request.images],
        request.recipe,
        sixty_eight_landmarks=request.include_sixty_eight_landmarks,
        aligned_png=request.include_aligned_png,
        deadline=call.deadline,
    )
    return pb.DetectFacesResponse(images=_images(found, None), model_fingerprint=found.model_fingerprint)


def embed_faces(request: pb.EmbedFacesRequest, call: Call) -> pb.EmbedFacesResponse:
    """EmbedFaces."""
    found = call.engine.recognition.embed(
        [image_input(image) for image in request.images],
        request.recipe,
        aligned_png=request.include_aligned_png,
        deadline=call.deadline,
    )
    return pb.EmbedFacesResponse(
        images=_images(found, found.model_fingerprint), model_fingerprint=found.model_fingerprint
    )


def _images(found: FoundImages, model: str | None) -> list[pb.ImageFaces]:
    return [
        image_faces_message(analysis, source, f"images[{position}]", model)
        for position, (analysis, source) in enumerate(found.images)
    ]


def verify_faces(request: pb.VerifyFacesRequest, call: Call) -> pb.VerifyFacesResponse:
    """VerifyFaces."""
    answer = call.engine.recognition.verify(
        verify_side(request.left, "left"),
        verify_side(request.right, "right"),
        gallery=request.gallery,
        recipe=request.recipe,
        policy=_policy(request),
        min_revision=request.min_revision,
        deadline=call.deadline,
    )
    return verify_response(answer, request.left.image.source, request.right.image.source)


def identify(request: pb.IdentifyRequest, call: Call) -> pb.IdentifyResponse:
    """Identify."""
    with call.large(_entry_count(request.probes, request.candidate_count)):
        answer = call.engine.recognition.identify(
            request.gallery,
            probes(request.probes),
            candidate_count=request.candidate_count,
            choices=search_choices(request.options),
            policy=_policy(request),
            deadline=call.deadline,
        )
        return identify_response(answer)


def _entry_count(asked: pb.Probes, per_probe: int) -> int:
    """Entries that the answer may have. Faces of photographs are not known yet: each counts as one probe."""
    return (asked.embeddings.count + len(asked.images)) * max(1, per_probe)


def _policy(request: pb.VerifyFacesRequest | pb.IdentifyRequest) -> DecisionPolicy | None:
    return decision_policy(request.policy, "policy") if request.HasField("policy") else None


def search_faces(request: pb.SearchFacesRequest, call: Call) -> pb.SearchFacesResponse:
    """SearchFaces."""
    with call.large(_entry_count(request.probes, request.k)):
        return _search_response(request, _search(request, call))


def _search(request: pb.SearchFacesRequest, call: Call) -> NeighborsAnswer:
    if request.columnar and request.probes.images:
        raise InvalidArgument(
            "columnar: columns are for embeddings only; leave out the photographs, or ask for neighbours as messages",
            field="columnar",
            reason="COLUMNAR_WITH_IMAGES",
        )
    return call.engine.recognition.search(
        request.gallery,
        probes(request.probes),
        k=request.k,
        choices=search_choices(request.options),
        deadline=call.deadline,
    )


def _search_response(request: pb.SearchFacesRequest, answer: NeighborsAnswer) -> pb.SearchFacesResponse:
    return columns_response(answer) if request.columnar else neighbors_response(answer)


def _identify_stream(call: Call) -> Callable[[pb.StreamIdentifyRequest], Callable[[], pb.StreamIdentifyResponse]]:
    def begin(message: pb.StreamIdentifyRequest) -> Callable[[], pb.StreamIdentifyResponse]:
        response = identify(message.request, call)
        return lambda: pb.StreamIdentifyResponse(sequence=message.sequence, response=response)

    return begin


def _search_stream(call: Call) -> Callable[[pb.StreamSearchRequest], Callable[[], pb.StreamSearchResponse]]:
    def begin(message: pb.StreamSearchRequest) -> Callable[[], pb.StreamSearchResponse]:
        entry_count = _entry_count(message.request.probes, message.request.k)
        with call.large(entry_count):
            answer = _search(message.request, call)

        def finish() -> pb.StreamSearchResponse:
            with call.large(entry_count):
                response = _search_response(message.request, answer)
            return pb.StreamSearchResponse(sequence=message.sequence, response=response)

        return finish

    return begin


STREAM_IDENTIFY = StreamMethod(
    open=_identify_stream,
    refuse=lambda sequence, status: pb.StreamIdentifyResponse(sequence=sequence, error=status),
)
STREAM_SEARCH = StreamMethod(
    open=_search_stream,
    refuse=lambda sequence, status: pb.StreamSearchResponse(sequence=sequence, error=status),
)
