"""Recognition: the verbs that read. Pictures and probes in, faces, people and decisions out."""

from __future__ import annotations

from collections.abc import Sequence

from mien_server.engine.combining import Combiner, IdentifyCall
from mien_server.engine.context import EngineContext
from mien_server.engine.images import check_images
from mien_server.engine.searching import search_faces
from mien_server.engine.types import (
    FoundImages,
    IdentificationAnswer,
    ImageInput,
    NeighborsAnswer,
    Probes,
    SearchChoices,
    VerificationAnswer,
    VerifySide,
)
from mien_server.engine.validation import check_count
from mien_server.engine.verification import verify
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy

__all__ = ["Recognition"]


class Recognition:
    """Detect, embed, verify, identify, search."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._combiner = Combiner(context)

    def detect(
        self,
        images: Sequence[ImageInput],
        recipe: str = "",
        *,
        sixty_eight_landmarks: bool = False,
        aligned_png: bool = False,
        deadline: Deadline,
    ) -> FoundImages:
        """Every face of every photograph, without embeddings.

        Raises:
            NotFound: RECIPE_NOT_FOUND.
            Unavailable: RECIPE_UNAVAILABLE.
            Overloaded: the queue of photographs is full.
        """
        return self._found(
            images,
            recipe,
            embed=False,
            sixty_eight_landmarks=sixty_eight_landmarks,
            aligned_png=aligned_png,
            deadline=deadline,
        )

    def embed(
        self, images: Sequence[ImageInput], recipe: str = "", *, aligned_png: bool = False, deadline: Deadline
    ) -> FoundImages:
        """Every face of every photograph with its embedding. Errors as `detect`."""
        return self._found(
            images, recipe, embed=True, sixty_eight_landmarks=False, aligned_png=aligned_png, deadline=deadline
        )

    def _found(
        self,
        images: Sequence[ImageInput],
        recipe: str,
        *,
        embed: bool,
        sixty_eight_landmarks: bool,
        aligned_png: bool,
        deadline: Deadline,
    ) -> FoundImages:
        context = self._context
        check_count(len(images), context.limits.images_per_request_max, "images_per_request_max", "images", 1)
        check_images(context, images, "images")
        description = context.usable_recipe(recipe or context.options.default_recipe)
        found = context.embedding.analyse(
            [image.content for image in images],
            description.name,
            embed=embed,
            sixty_eight_landmarks=sixty_eight_landmarks,
            aligned_png=aligned_png,
            deadline=deadline,
        )
        pairs = tuple((one, image.source) for one, image in zip(found, images, strict=True))
        return FoundImages(pairs, description.fingerprint)

    def verify(
        self,
        left: VerifySide,
        right: VerifySide,
        *,
        gallery: str = "",
        recipe: str = "",
        policy: DecisionPolicy | None = None,
        min_revision: int = 0,
        deadline: Deadline,
    ) -> VerificationAnswer:
        """Whether two sides are the same person; see `verification.verify`."""
        return verify(
            self._context,
            left,
            right,
            gallery=gallery,
            recipe=recipe,
            policy=policy,
            min_revision=min_revision,
            deadline=deadline,
        )

    def identify(
        self,
        gallery: str,
        probes: Probes,
        *,
        candidate_count: int = 0,
        choices: SearchChoices,
        policy: DecisionPolicy | None = None,
        deadline: Deadline,
    ) -> IdentificationAnswer:
        """Who each face is; see `identification.identify` and, for calls at the same time, `combining`."""
        call = IdentifyCall(gallery, probes, candidate_count, choices, policy, deadline)
        return self._combiner.identify(call)

    def search(
        self, gallery: str, probes: Probes, *, k: int = 0, choices: SearchChoices, deadline: Deadline
    ) -> NeighborsAnswer:
        """The nearest faces; see `searching.search_faces`."""
        return search_faces(self._context, gallery, probes, k, choices, deadline)
