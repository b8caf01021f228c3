"""Enrolment: photographs and embeddings become faces of identities, every item with an outcome of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

import numpy as np

from mien_server.engine.context import EngineContext, check_replay
from mien_server.engine.enrollment_draft import EnrollmentDraft
from mien_server.engine.faces import face_infos
from mien_server.engine.images import analyse, gallery_recipe
from mien_server.engine.outcomes import encode_rows_outcome, error_of, refused_item, rows_outcome_of
from mien_server.engine.translation import enrollment_policy_of
from mien_server.engine.types import (
    EnrollBatch,
    EnrolledFaces,
    EnrollOutcome,
    EnrollRows,
    EnrollRowsOutcome,
    FaceInfo,
    RequestToken,
)
from mien_server.engine.validation import (
    check_count,
    check_enrollment_policy,
    check_expire_time,
    check_face_id,
    check_identity_id,
    check_text,
)
from mien_server.engine.vectors import check_vectors, digests_of, new_face_ids, unpack
from mien_server.errors import InvalidArgument, MienError
from mien_server.records.deadline import Deadline
from mien_server.records.faces import ImageAnalysis, ImageStatus, QualityReason
from mien_server.records.policies import EnrollmentPolicy
from mien_server.records.store_pb2 import EnrolledFace, EnrollOutcomeRecord, FaceRecord
from mien_server.storage import Committed, EnrollResult, GalleryView, Replayed, RequestKey
from mien_server.storage import EnrollRows as EnrollRowsCommand

__all__ = ["Enrollment"]

T = TypeVar("T")


class Enrollment:
    """Adds faces to galleries."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def enroll(self, batch: EnrollBatch, deadline: Deadline) -> EnrolledFaces:
        """Enrol photographs and embeddings; one bad item never fails the others.

        Raises:
            NotFound: GALLERY_NOT_FOUND.
            LimitExceeded: LIMIT_EXCEEDED.
            PreconditionFailed: GALLERY_TAKES_EMBEDDINGS, MODEL_CHANGED.
            Overloaded: the queue of photographs is full.
        """
        limits = self._context.limits
        check_count(len(batch.items), limits.enroll_items_max, "enroll_items_max", "items", 1)
        image_count = sum(item.image is not None for item in batch.items)
        check_count(image_count, limits.images_per_request_max, "images_per_request_max", "items")
        if batch.policy is not None:
            check_enrollment_policy(batch.policy, "policy")
        with self._context.snapshot(batch.gallery) as snapshot:
            replay = check_replay(snapshot.view, batch.request)
            gallery = snapshot.gallery
        if replay is not None:
            return self._replayed(batch, replay, gallery.record.model_fingerprint)
        draft, analyses = self._drafted(batch, gallery, deadline)
        if not draft.rows and batch.request is None:
            return self._answer(batch, draft, analyses, None, gallery)
        # Under a request id a batch of which nothing was enrolled is kept too: sent again it has the same outcome.
        deadline.check()
        key = _request_key(batch.request, lambda result: _encode_outcomes(draft, analyses, result))
        written = self._context.store.write(self._command(batch.gallery, gallery, draft, key))
        if isinstance(written, Replayed):
            return self._replayed(batch, written, gallery.record.model_fingerprint)
        return self._answer(batch, draft, analyses, written, gallery)

    def _drafted(
        self, batch: EnrollBatch, gallery: GalleryView, deadline: Deadline
    ) -> tuple[EnrollmentDraft, dict[int, ImageAnalysis]]:
        """The rows of the items, and the analysis of each photograph by item."""
        context = self._context
        policy = batch.policy or enrollment_policy_of(gallery.record.enrollment_policy)
        has_images = any(item.image is not None for item in batch.items)
        recipe = gallery_recipe(context, gallery) if has_images else None
        recipe_minimum = recipe.minimum_quality if recipe is not None else 0.0
        draft = EnrollmentDraft(
            limits=context.limits,
            policy=policy,
            model=gallery.record.model_fingerprint,
            dimension=gallery.record.dimension,
            quality_minimum=policy.minimum_quality or recipe_minimum,
            now_us=context.store.now_us(),
        )
        good = [position for position, item in enumerate(batch.items) if draft.check(position, item)]
        pictures = [(at, image) for at in good if (image := batch.items[at].image) is not None]
        found = analyse(context, [image for _, image in pictures], recipe.name if recipe else "", deadline)
        analyses = {at: analysis for (at, _), analysis in zip(pictures, found, strict=True)}
        for position in good:
            if position in analyses:
                draft.add_image(position, batch.items[position], analyses[position])
            else:
                draft.add_embedding(position, batch.items[position])
        return draft, analyses

    def _command(
        self, name: str, gallery: GalleryView, draft: EnrollmentDraft, key: RequestKey[EnrollResult] | None
    ) -> EnrollRowsCommand:
        return EnrollRowsCommand(
            gallery=name,
            gallery_number=gallery.number,
            vectors=draft.matrix(),
            identity_ids=[row.identity_id for row in draft.rows],
            face_ids=[row.face_id for row in draft.rows],
            digests=[row.record.digest for row in draft.rows],
            records=[row.record.SerializeToString() for row in draft.rows],
            identity_seeds=draft.seeds,
            face_labels=draft.face_labels(),
            duplicates=draft.policy.duplicates,
            create_time_us=draft.now_us,
            expire_times_us=[row.expire_time_us for row in draft.rows],
            request=key,
        )

    def _answer(
        self,
        batch: EnrollBatch,
        draft: EnrollmentDraft,
        analyses: dict[int, ImageAnalysis],
        written: Committed[EnrollResult] | None,
        gallery: GalleryView,
    ) -> EnrolledFaces:
        """Outcomes of the items from the rows' results; `written` is None when no row was left to write."""
        fingerprint = gallery.record.model_fingerprint
        errors = dict(draft.errors)
        faces: dict[int, list[FaceInfo]] = {}
        added: set[int] = set()
        created: set[int] = set()
        if written is not None:
            result = written.result
            for row, drafted in enumerate(draft.rows):
                if row in result.errors:
                    errors.setdefault(drafted.item, result.errors[row])
                    continue
                info = drafted.info(fingerprint, result.expire_times_us[row] if result.expire_times_us else 0)
                if result.is_duplicate[row]:
                    info = self._existing(batch.gallery, result.face_ids[row]) or info
                else:
                    added.add(drafted.item)
                if result.identity_created[row]:
                    created.add(drafted.item)
                faces.setdefault(drafted.item, []).append(info)
        outcomes = tuple(
            EnrollOutcome(
                error=errors.get(position),
                faces=tuple(faces.get(position, ())),
                duplicate=position in faces and position not in added,
                identity_created=position in created,
                image=analyses.get(position),
                warnings=draft.warnings.get(position, ()),
            )
            for position in range(len(batch.items))
        )
        revision = written.revision if written is not None else self._context.store.revision
        return EnrolledFaces(outcomes, revision, fingerprint)

    def _existing(self, gallery: str, face_id: str) -> FaceInfo | None:
        """A face that was there already; None when it has gone since."""
        with self._context.snapshot(gallery) as snapshot:
            ordinal = snapshot.gallery.face_ordinal(face_id)
            return None if ordinal is None else face_infos(snapshot, [ordinal], include_embedding=False)[0]

    def _replayed(self, batch: EnrollBatch, replay: Replayed, fingerprint: str) -> EnrolledFaces:
        """The first outcome again; faces that have gone since are named by their ids alone."""
        record = EnrollOutcomeRecord.FromString(replay.outcome)
        faces: dict[int, list[FaceInfo]] = {}
        errors: dict[int, MienError] = {}
        first: dict[int, EnrolledFace] = {}
        added: set[int] = set()
        created: set[int] = set()
        for entry in record.faces:
            first.setdefault(entry.item, entry)
            error = error_of(entry)
            if error is not None:
                errors[entry.item] = error
                continue
            found = self._existing(batch.gallery, entry.face_id)
            faces.setdefault(entry.item, []).append(found or _gone(entry, fingerprint))
            if not entry.duplicate:
                added.add(entry.item)
            if entry.identity_created:
                created.add(entry.item)
        outcomes = tuple(
            EnrollOutcome(
                error=errors.get(position),
                faces=tuple(faces.get(position, ())),
                duplicate=position in faces and position not in added,
                identity_created=position in created,
                image=_kept_image(first.get(position), errors.get(position)),
                warnings=tuple(map(QualityReason, first[position].warnings)) if position in first else (),
            )
            for position in range(len(batch.items))
        )
        return EnrolledFaces(outcomes, replay.revision, fingerprint)

    def enroll_rows(self, rows: EnrollRows, deadline: Deadline) -> EnrollRowsOutcome:
        """Enrol embeddings in columns and wait until they are durable; see `submit_rows`."""
        return self.submit_rows(rows, deadline)()

    def submit_rows(self, rows: EnrollRows, deadline: Deadline) -> Callable[[], EnrollRowsOutcome]:
        """Check embeddings in columns and queue them; call what is returned to wait until they are durable.

        Several batches can be under way at once: they are committed in the order they were submitted.

        Raises:
            NotFound: GALLERY_NOT_FOUND.
            LimitExceeded: LIMIT_EXCEEDED.
            InvalidArgument: the columns do not fit each other; EmbeddingRefused for the block as a whole.
            Overloaded: WRITE_QUEUE_FULL.
        """
        if rows.policy is not None:
            check_enrollment_policy(rows.policy, "policy")
        with self._context.snapshot(rows.gallery) as snapshot:
            replay = check_replay(snapshot.view, rows.request)
            gallery = snapshot.gallery
        if replay is not None:
            outcome = rows_outcome_of(replay.outcome, replay.revision)
            return lambda: outcome
        deadline.check()
        return self._submit_new_rows(rows, gallery)

    def _submit_new_rows(self, rows: EnrollRows, gallery: GalleryView) -> Callable[[], EnrollRowsOutcome]:
        record = gallery.record
        field = "rows.embeddings"
        raw = unpack(
            rows.embeddings,
            dimension=record.dimension,
            model=record.model_fingerprint,
            limits=self._context.limits,
            field=field,
        )
        errors: dict[int, MienError] = dict(self._check_columns(rows, raw.shape[0]))
        checked = check_vectors(raw, normalize=rows.embeddings.normalize, field=field)
        errors |= checked.errors
        good = [row for row in range(raw.shape[0]) if row not in errors]
        kept = np.array(good, dtype=np.int64) if errors else None
        vectors = checked.vectors if kept is None else np.ascontiguousarray(checked.vectors[kept])
        if not len(vectors) and rows.request is None:
            empty = EnrollRowsOutcome([""] * raw.shape[0], errors, 0, 0, self._context.store.revision)
            return lambda: empty
        policy = rows.policy or enrollment_policy_of(record.enrollment_policy)
        total = raw.shape[0]
        key = _request_key(
            rows.request, lambda result: encode_rows_outcome(_rows_outcome(result, kept, total, errors, 0))
        )
        command = self._rows_command(rows, gallery, vectors, kept, policy, key)
        future: Future[Committed[EnrollResult] | Replayed] = self._context.store.submit(command)

        def wait() -> EnrollRowsOutcome:
            written = future.result()
            if isinstance(written, Replayed):
                return rows_outcome_of(written.outcome, written.revision)
            return _rows_outcome(written.result, kept, total, errors, written.revision)

        return wait

    def _rows_command(
        self,
        rows: EnrollRows,
        gallery: GalleryView,
        vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]],
        kept: np.ndarray[tuple[int], np.dtype[np.int64]] | None,
        policy: EnrollmentPolicy,
        key: RequestKey[EnrollResult] | None,
    ) -> EnrollRowsCommand:
        identity_ids = _kept(rows.identity_ids, kept)
        face_ids = _kept(rows.face_ids, kept) if rows.face_ids else new_face_ids(len(vectors))
        digests = digests_of(vectors)
        created_us = self._context.store.now_us()
        # Time and digest stand in the row's header: without a source there is nothing more to keep.
        records = [b""] * len(vectors)
        if rows.sources:
            records = [FaceRecord(source=source).SerializeToString() for source in _kept(rows.sources, kept)]
        return EnrollRowsCommand(
            gallery=gallery.name,
            gallery_number=gallery.number,
            vectors=vectors,
            identity_ids=identity_ids,
            face_ids=face_ids,
            digests=digests,
            records=records,
            identity_seeds={},
            face_labels={},
            duplicates=policy.duplicates,
            create_time_us=created_us,
            expire_times_us=_kept(rows.expire_times_us, kept) if rows.expire_times_us else (),
            request=key,
        )

    def _check_columns(self, rows: EnrollRows, count: int) -> dict[int, InvalidArgument]:
        """Errors of single rows' ids; columns that do not fit fail the batch."""
        limits = self._context.limits
        check_count(count, limits.enroll_items_max, "enroll_items_max", "rows", 1)
        for name, column in (
            ("identity_ids", rows.identity_ids),
            ("face_ids", rows.face_ids),
            ("sources", rows.sources),
            ("expire_times_us", rows.expire_times_us),
        ):
            if len(column) != count and (column or name == "identity_ids"):
                raise InvalidArgument(
                    f"rows.{name}: {len(column)} given for {count} embeddings",
                    field=f"rows.{name}",
                    reason="COLUMNS_DIFFER",
                )
        errors: dict[int, InvalidArgument] = {}
        if not _are_plain(rows.identity_ids, limits.identity_id_bytes_max):
            _collect(
                errors, rows.identity_ids, lambda text, at: check_identity_id(text, limits, f"rows.identity_ids[{at}]")
            )
        if rows.face_ids and not _are_plain(rows.face_ids, limits.face_id_bytes_max):
            _collect(errors, rows.face_ids, lambda text, at: check_face_id(text, limits, f"rows.face_ids[{at}]"))
        if rows.sources:
            most = limits.source_bytes_max
            _collect(
                errors, rows.sources, lambda text, at: check_text(text, most, "source_bytes_max", f"rows.sources[{at}]")
            )
        now_us = self._context.store.now_us()
        _collect(
            errors,
            rows.expire_times_us,
            lambda time_us, at: check_expire_time(time_us, now_us, f"rows.expire_times_us[{at}]"),
        )
        return errors


def _are_plain(texts: Sequence[str], bytes_max: int) -> bool:
    """Whether every text is printable ASCII of an allowed length: the usual case, decided without a look at each."""
    joined = "".join(texts)
    return joined.isascii() and joined.isprintable() and all(texts) and len(max(texts, key=len)) <= bytes_max


def _collect(errors: dict[int, InvalidArgument], column: Sequence[T], check: Callable[[T, int], None]) -> None:
    for position, value in enumerate(column):
        try:
            check(value, position)
        except InvalidArgument as error:
            errors.setdefault(position, error)


def _kept(column: Sequence[T], kept: np.ndarray[tuple[int], np.dtype[np.int64]] | None) -> Sequence[T]:
    return column if kept is None else [column[row] for row in kept.tolist()]


def _request_key(
    request: RequestToken | None, encode: Callable[[EnrollResult], bytes]
) -> RequestKey[EnrollResult] | None:
    return None if request is None else RequestKey(request.request_id, request.fingerprint, encode)


def _rows_outcome(
    result: EnrollResult,
    kept: np.ndarray[tuple[int], np.dtype[np.int64]] | None,
    total: int,
    refused: dict[int, MienError],
    revision: int,
) -> EnrollRowsOutcome:
    duplicate_count = int(np.count_nonzero(result.is_duplicate))
    enrolled_count = len(result.face_ids) - len(result.errors) - duplicate_count
    if kept is None and not result.errors:
        return EnrollRowsOutcome(result.face_ids, {}, enrolled_count, duplicate_count, revision)
    face_ids = [""] * total
    errors = dict(refused)
    for position, face_id in enumerate(result.face_ids):
        row = position if kept is None else int(kept[position])
        if position in result.errors:
            errors[row] = result.errors[position]
        else:
            face_ids[row] = face_id
    return EnrollRowsOutcome(face_ids, errors, enrolled_count, duplicate_count, revision)


def _encode_outcomes(draft: EnrollmentDraft, analyses: Mapping[int, ImageAnalysis], result: EnrollResult) -> bytes:
    entries = [refused_item(item, error) for item, error in draft.errors.items()]
    for row, drafted in enumerate(draft.rows):
        if row in result.errors:
            entries.append(refused_item(drafted.item, result.errors[row]))
            continue
        entries.append(
            EnrolledFace(
                item=drafted.item,
                face_id=result.face_ids[row],
                identity_id=drafted.identity_id,
                duplicate=bool(result.is_duplicate[row]),
                identity_created=bool(result.identity_created[row]),
            )
        )
    for entry in entries:
        if entry.item in analyses:
            entry.image_status = analyses[entry.item].status.value
        entry.warnings.extend(reason.value for reason in draft.warnings.get(entry.item, ()))
    return EnrollOutcomeRecord(faces=entries).SerializeToString()


def _kept_image(entry: EnrolledFace | None, error: MienError | None) -> ImageAnalysis | None:
    """What is kept of an item's photograph: its status. What was found in it is not."""
    if entry is None or not entry.image_status:
        return None
    message = "" if error is None else error.message
    return ImageAnalysis(ImageStatus(entry.image_status), message, width=0, height=0, sha256=b"", faces=())


def _gone(entry: EnrolledFace, fingerprint: str) -> FaceInfo:
    """A face that was enrolled and has gone since."""
    return FaceInfo(
        id=entry.face_id,
        identity_id=entry.identity_id,
        labels={},
        source="",
        image_sha256=b"",
        box=None,
        landmarks_five=None,
        quality=None,
        detector_score=0.0,
        model_fingerprint=fingerprint,
        create_time_us=0,
    )
