"""Methods that look at photographs and look people up. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mien.v1 import recognition_service_pb2 as recognition_v1
from mien_client._calls.base import CallGroup
from mien_client._rpc.failures import optional_error
from mien_client._rpc.window import StreamedCall, windowed
from mien_client._types import faces, recognition, requests
from mien_client._wire import decode_faces, decode_recognition, encode

__all__ = ["RecognitionCalls"]

_Embeddings = requests.Vectors | requests.EmbeddingBlock
_ProbesLike = requests.Probes | requests.ImageLike | _Embeddings


class RecognitionCalls(CallGroup):
    """Detect, embed, verify, identify and search."""

    def detect_faces(
        self,
        images: Sequence[requests.ImageLike],
        *,
        recipe: str = "",
        include_sixty_eight_landmarks: bool = False,
        include_aligned_png: bool = False,
        timeout_s: float | None = None,
    ) -> faces.DetectionAnswer:
        """Finds every face of each photograph; a bad photograph has its own status.

        Args:
            images: photographs, files or bytes.
            recipe: the server's default when empty.
            include_sixty_eight_landmarks: add the 68 points.
            include_aligned_png: add each aligned chip.
            timeout_s: seconds; None means the client's default.
        """
        request = recognition_v1.DetectFacesRequest(
            images=[encode.image(picture) for picture in images],
            recipe=recipe,
            include_sixty_eight_landmarks=include_sixty_eight_landmarks,
            include_aligned_png=include_aligned_png,
        )
        answer = self._caller.call(self._caller.recognition.DetectFaces, request, timeout_s)
        return decode_faces.detection_answer(answer)

    def embed_faces(
        self,
        images: Sequence[requests.ImageLike],
        *,
        recipe: str = "",
        include_aligned_png: bool = False,
        timeout_s: float | None = None,
    ) -> faces.DetectionAnswer:
        """Finds and embeds every face of each photograph; each face has its `embedding`, float32 [d]."""
        request = recognition_v1.EmbedFacesRequest(
            images=[encode.image(picture) for picture in images],
            recipe=recipe,
            include_aligned_png=include_aligned_png,
        )
        answer = self._caller.call(self._caller.recognition.EmbedFaces, request, timeout_s)
        return decode_faces.detection_answer(answer)

    def verify_faces(
        self,
        left: requests.ImageLike | _Embeddings | requests.EnrolledFace | requests.EnrolledIdentity,
        right: requests.ImageLike | _Embeddings | requests.EnrolledFace | requests.EnrolledIdentity,
        *,
        gallery: str = "",
        recipe: str = "",
        policy: requests.DecisionPolicy | None = None,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> recognition.VerifyAnswer:
        """Whether the two sides are the same person.

        Args:
            left: a photograph (its largest face), one embedding [d], an enrolled face or identity.
            right: likewise.
            gallery: whose model and policy hold; needed for enrolled sides.
            recipe: without a gallery; the server's default when empty.
            policy: replaces the gallery's for this call.
            min_revision: the answer shows at least this revision.
            timeout_s: seconds; None means the client's default.

        Raises:
            InvalidArgument: a photograph that cannot be used, or without a face; the message says which side.
            NotFound: there is no such gallery, face or identity.
        """
        request = recognition_v1.VerifyFacesRequest(
            left=encode.verify_side(left),
            right=encode.verify_side(right),
            gallery=gallery,
            recipe=recipe,
            policy=encode.decision_policy(policy),
            min_revision=encode.whole("min_revision", min_revision, 64),
        )
        answer = self._caller.call(self._caller.recognition.VerifyFaces, request, timeout_s)
        return decode_recognition.verify_answer(answer)

    def identify(
        self,
        gallery: str,
        *,
        images: Sequence[requests.ImageLike] = (),
        embeddings: _Embeddings | None = None,
        candidate_count: int = 0,
        filter: requests.Filter | None = None,  # noqa: A002  the contract's name
        effort: requests.Effort | None = None,
        min_similarity: float | None = None,
        min_revision: int = 0,
        explain: bool = False,
        policy: requests.DecisionPolicy | None = None,
        timeout_s: float | None = None,
    ) -> recognition.IdentifyAnswer:
        """Who each face is: candidate identities, and a decision MATCH or UNKNOWN.

        Args:
            gallery: where to look.
            images: photographs; every face of each is looked up.
            embeddings: [d] or [n, d].
            candidate_count: identities for each face; 0 means 5.
            filter: which identities may be answered.
            effort: how hard to look; the gallery's default when None.
            min_similarity: leave out candidates below it.
            min_revision: the answer shows at least this revision.
            explain: fill `info.explanation`.
            policy: replaces the gallery's decision policy for this call.
            timeout_s: seconds; None means the client's default.

        Raises:
            NotFound: there is no such gallery.
            InvalidArgument: embeddings of another dimension or model, not finite, not of unit norm.
            ValueError: nothing to look up.
        """
        options = encode.search_options(filter, effort, min_similarity, min_revision, explain)
        request = recognition_v1.IdentifyRequest(
            gallery=gallery,
            probes=encode.probes(requests.Probes(embeddings, images)),
            candidate_count=encode.whole("candidate_count", candidate_count),
            options=options,
            policy=encode.decision_policy(policy),
        )
        answer = self._caller.call(self._caller.recognition.Identify, request, timeout_s)
        return decode_recognition.identify_answer(answer)

    def search_faces(
        self,
        gallery: str,
        *,
        embeddings: _Embeddings | None = None,
        images: Sequence[requests.ImageLike] = (),
        k: int = 0,
        filter: requests.Filter | None = None,  # noqa: A002  the contract's name
        effort: requests.Effort | None = None,
        min_similarity: float | None = None,
        min_revision: int = 0,
        explain: bool = False,
        columnar: bool = False,
        timeout_s: float | None = None,
    ) -> recognition.SearchAnswer:
        """The enrolled faces nearest to each probe, without a decision.

        Args:
            gallery: where to look.
            embeddings: [d] or [n, d].
            images: photographs; every face of each is looked up.
            k: faces for each probe; 0 means 10.
            filter: as in `identify`, and so are the options after it.
            effort: see `identify`.
            min_similarity: see `identify`.
            min_revision: see `identify`.
            explain: see `identify`.
            columnar: answer in numpy columns (`answer.columns`), for large batches of embeddings.
            timeout_s: seconds; None means the client's default.

        Raises:
            NotFound: there is no such gallery.
            InvalidArgument: as in `identify`.
            ValueError: nothing to look up.
        """
        options = encode.search_options(filter, effort, min_similarity, min_revision, explain)
        request = recognition_v1.SearchFacesRequest(
            gallery=gallery,
            probes=encode.probes(requests.Probes(embeddings, images)),
            k=encode.whole("k", k),
            options=options,
            columnar=columnar,
        )
        answer = self._caller.call(self._caller.recognition.SearchFaces, request, timeout_s)
        return decode_recognition.search_answer(answer)

    def stream_identify(
        self,
        gallery: str,
        probes: Iterable[_ProbesLike],
        *,
        candidate_count: int = 0,
        filter: requests.Filter | None = None,  # noqa: A002  the contract's name
        effort: requests.Effort | None = None,
        min_similarity: float | None = None,
        min_revision: int = 0,
        explain: bool = False,
        policy: requests.DecisionPolicy | None = None,
        window: int = 8,
        timeout_s: float | None = None,
    ) -> Iterator[recognition.StreamedIdentifyAnswer]:
        """`identify` for millions: one request for each of `probes`, answers in their order.

        Args:
            gallery: where to look.
            probes: each a block of embeddings, a photograph, or Probes with both.
            candidate_count: as in `identify`, and so are the options after it.
            filter: see `identify`.
            effort: see `identify`.
            min_similarity: see `identify`.
            min_revision: see `identify`.
            explain: see `identify`.
            policy: see `identify`.
            window: requests that may be unanswered at once.
            timeout_s: seconds for the whole stream; None: no limit.

        Raises:
            Unavailable: the server went away and did not come back.
        """
        options = encode.search_options(filter, effort, min_similarity, min_revision, explain)
        number_each = encode.whole("candidate_count", candidate_count)
        packed_policy = encode.decision_policy(policy)

        def request(found: _ProbesLike) -> recognition_v1.StreamIdentifyRequest:
            inner = recognition_v1.IdentifyRequest(
                gallery=gallery,
                probes=_probes(found),
                candidate_count=number_each,
                options=options,
                policy=packed_policy,
            )
            return recognition_v1.StreamIdentifyRequest(request=inner)

        call = StreamedCall(self._caller.recognition.StreamIdentify, self._caller.address)
        for number, answer in windowed(call, map(request, probes), self._stream_options(window, timeout_s)):
            error = optional_error(answer.error)
            decoded = None if error else decode_recognition.identify_answer(answer.response)
            yield recognition.StreamedIdentifyAnswer(number, decoded, error)

    def stream_search(
        self,
        gallery: str,
        probes: Iterable[_ProbesLike],
        *,
        k: int = 0,
        filter: requests.Filter | None = None,  # noqa: A002  the contract's name
        effort: requests.Effort | None = None,
        min_similarity: float | None = None,
        min_revision: int = 0,
        explain: bool = False,
        columnar: bool = False,
        window: int = 8,
        timeout_s: float | None = None,
    ) -> Iterator[recognition.StreamedSearchAnswer]:
        """`search_faces` for millions: one request for each of `probes`, answers in their order.

        Args:
            gallery: where to look.
            probes: each a block of embeddings, a photograph, or Probes with both.
            k: as in `search_faces`, and so are the options after it.
            filter: see `search_faces`.
            effort: see `search_faces`.
            min_similarity: see `search_faces`.
            min_revision: see `search_faces`.
            explain: see `search_faces`.
            columnar: see `search_faces`.
            window: requests that may be unanswered at once.
            timeout_s: seconds for the whole stream; None: no limit.

        Raises:
            Unavailable: the server went away and did not come back.
        """
        options = encode.search_options(filter, effort, min_similarity, min_revision, explain)
        number_each = encode.whole("k", k)

        def request(found: _ProbesLike) -> recognition_v1.StreamSearchRequest:
            inner = recognition_v1.SearchFacesRequest(
                gallery=gallery, probes=_probes(found), k=number_each, options=options, columnar=columnar
            )
            return recognition_v1.StreamSearchRequest(request=inner)

        call = StreamedCall(self._caller.recognition.StreamSearch, self._caller.address)
        for number, answer in windowed(call, map(request, probes), self._stream_options(window, timeout_s)):
            error = optional_error(answer.error)
            decoded = None if error else decode_recognition.search_answer(answer.response)
            yield recognition.StreamedSearchAnswer(number, decoded, error)


def _probes(found: _ProbesLike) -> recognition_v1.Probes:
    match found:
        case requests.Probes():
            return encode.probes(found)
        case requests.Image() | Path() | bytes():
            return encode.probes(requests.Probes(images=[found]))
        case _:
            return encode.probes(requests.Probes(embeddings=found))
