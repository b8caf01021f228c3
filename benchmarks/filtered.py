"""Filters of every width, and deleted rows: beside the same search without, and beside brute force on what matches.

Brute force is FAISS's own `knn` over the matching rows, gathered into one array beforehand: the least that an exact
answer takes where nothing but these rows is kept. Unfiltered and filtered search, and brute force, are taken in turn.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import engine_calls
from benchmarks.figures import Figure, Target, size_name
from benchmarks.raw_faiss import faiss
from benchmarks.timing import percentile_ms, seconds_in_turn, typical_ratio
from benchmarks.workbench import DIMENSION, FACES_PER_IDENTITY, GALLERY, THRESHOLD_SIMILARITY, Workbench, identity_ids
from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import (
    EnrollBatch,
    EnrollItem,
    Explanation,
    Filter,
    GallerySpec,
    IdentificationAnswer,
    NeighborsAnswer,
    PackedEmbeddings,
    Probes,
    SearchChoices,
)
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy

__all__ = ["run"]

ROWS_MAX = 200_000
SHARES = {"50pct": 0.5, "10pct": 0.1, "1pct": 0.01, "01pct": 0.001}
LABEL = "site"
LABEL_SEED = 13
BUILD_WAIT_S = 600.0
AGREEMENT_PROBES = 1000
AGREEMENT_MIN = 0.999
ROUND_PROBES = 100
BATCH_PROBES = 100
ROUNDING = 2e-6
TOMBSTONE_SHARES = {"10pct": 0.1, "30pct": 0.3}
TOMBSTONE_RATIO_MAX = 1 / 0.7
"""Under 30 % of speed."""

Float32Array = npt.NDArray[np.float32]
Answer = NeighborsAnswer | IdentificationAnswer
Verb = Callable[[Engine, Probes, SearchChoices], Answer]


def _search(engine: Engine, probes: Probes, choices: SearchChoices) -> NeighborsAnswer:
    return engine.recognition.search(GALLERY, probes, k=engine_calls.NEIGHBORS, choices=choices, deadline=Deadline())


def _identify(engine: Engine, probes: Probes, choices: SearchChoices) -> IdentificationAnswer:
    return engine.recognition.identify(
        GALLERY, probes, candidate_count=engine_calls.CANDIDATES, choices=choices, deadline=Deadline()
    )


VERBS: dict[str, Verb] = {"search": _search, "identify": _identify}


@dataclass(frozen=True, slots=True)
class _Gallery:
    """A loaded store of labelled people.

    Attributes:
        vectors: float32 [rows, DIMENSION], in the order of enrolment.
        people: whose each row is, [rows].
        draws: a number in [0, 1) for each person, which gives the label.
    """

    store: Path
    vectors: Float32Array
    people: npt.NDArray[np.uint32]
    draws: npt.NDArray[np.float64]

    @property
    def size(self) -> str:
        return size_name(len(self.people))

    def labels_of(self, person: int) -> dict[str, str]:
        """One person is of one site; the sites' shares are those of SHARES."""
        start = 0.0
        for name, share in SHARES.items():
            if start <= self.draws[person] < start + share:
                return {LABEL: name}
            start += share
        return {LABEL: "elsewhere"}


def run(bench: Workbench) -> list[Figure]:
    """One probe and batches at each width, agreement, and what deleted rows cost."""
    gallery = _gallery(bench)
    figures = []
    with _opened(gallery.store) as engine:
        for name in SHARES:
            chosen = np.array([gallery.labels_of(person)[LABEL] == name for person in range(len(gallery.draws))])
            figures += _width_figures(bench, engine, gallery, name, chosen[gallery.people])
    return figures + _tombstone_figures(bench, gallery)


def _opened(store: Path) -> Engine:
    return Engine.open(store, EngineOptions(rebuilds_automatically=False))


def _gallery(bench: Workbench) -> _Gallery:
    """The store, loaded once, with an index that covers every row."""
    identity_count = min(bench.rows, ROWS_MAX) // FACES_PER_IDENTITY
    faces = bench.population.gallery(identity_count, FACES_PER_IDENTITY)
    draws = np.random.default_rng(LABEL_SEED).random(identity_count)
    path = bench.folder / f"filtered-{size_name(len(faces.identity_numbers))}"
    gallery = _Gallery(path, faces.vectors, faces.identity_numbers, draws)
    if not path.exists():
        unfinished = path.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        _load(unfinished, gallery)
        unfinished.rename(path)
    return gallery


def _load(path: Path, gallery: _Gallery) -> None:
    policy = DecisionPolicy(similarity=THRESHOLD_SIMILARITY)
    with _opened(path) as engine:
        spec = GallerySpec(GALLERY, precomputed_name="face512", precomputed_dimension=DIMENSION, decision_policy=policy)
        engine.galleries.create(spec, None)
        block = engine.limits.enroll_items_max
        for first in range(0, len(gallery.people), block):
            people = gallery.people[first : first + block]
            items = [
                EnrollItem(
                    identity_id,
                    identity_labels=gallery.labels_of(person),
                    embedding=PackedEmbeddings(gallery.vectors[row].tobytes(), DIMENSION, 1),
                    face_id=_face_id(row),
                )
                for row, (identity_id, person) in enumerate(zip(identity_ids(people), people, strict=True), first)
            ]
            engine.enrollment.enroll(EnrollBatch(GALLERY, items), Deadline())
        operation = engine.operations.rebuild_index(GALLERY)
        engine.operations.wait(operation.name, BUILD_WAIT_S, Deadline())


def _face_id(row: int) -> str:
    return f"f{row:09d}"


def _width_figures(
    bench: Workbench, engine: Engine, gallery: _Gallery, name: str, is_allowed: npt.NDArray[np.bool_]
) -> list[Figure]:
    rows = np.ascontiguousarray(gallery.vectors[is_allowed])
    people = np.unique(gallery.people[is_allowed])
    probes = bench.population.probes(np.resize(people, AGREEMENT_PROBES), seed=LABEL_SEED).vectors
    faiss.omp_set_num_threads(1)
    best = faiss.knn(probes, rows, 1, metric=faiss.METRIC_INNER_PRODUCT)[0][:, 0]
    return [
        figure
        for verb in VERBS
        for figure in _verb_figures(bench, engine, verb, f"{gallery.size}.{name}", rows, probes, best)
    ]


def _verb_figures(
    bench: Workbench, engine: Engine, verb: str, name: str, rows: Float32Array, probes: Float32Array, best: Float32Array
) -> list[Figure]:
    call = VERBS[verb]
    chosen = Filter(identity_labels={LABEL: name.rpartition(".")[2]})
    filtered, unfiltered = SearchChoices(filter=chosen), SearchChoices()
    singles = [np.ascontiguousarray(probes[number : number + 1]) for number in range(len(probes))]
    packed = [engine_calls.packed(probe) for probe in singles]
    k = min(engine_calls.NEIGHBORS if verb == "search" else engine_calls.FACES_FOR_CANDIDATES, len(rows))

    def brute_force(number: int) -> object:
        return faiss.knn(singles[number % len(singles)], rows, k, metric=faiss.METRIC_INNER_PRODUCT)

    ours, without, theirs = seconds_in_turn(
        [
            lambda number: call(engine, packed[number % len(packed)], filtered),
            lambda number: call(engine, packed[number % len(packed)], unfiltered),
            brute_force,
        ],
        rounds=6 if bench.is_quick else 12,
        calls_per_round=ROUND_PROBES,
        warm_up_calls=ROUND_PROBES,
    )
    told = _explained(call(engine, packed[0], SearchChoices(filter=chosen, explain=True)))
    detail = (
        f"one probe a call, the person matches, {told.matching_faces} rows match, plan {told.plan}, "
        f"{told.lists_scanned} of {told.lists_total} lists; p99 {percentile_ms(ours, 99):.2f} ms"
    )
    agreement = float(
        np.mean(_first_similarities(call(engine, engine_calls.packed(probes), filtered)) >= best - ROUNDING)
    )
    prefix = f"{verb}.filtered.{name}"
    return [
        _ratio_figure(f"{prefix}.one_probe.ratio_to_brute_force", ours, theirs, f"{detail}; FAISS knn over just these"),
        _ratio_figure(f"{prefix}.one_probe.ratio_to_unfiltered", ours, without, f"{detail}; the same call without it"),
        Figure(
            name=f"{prefix}.rank1_agreement",
            value=agreement,
            unit="share",
            baseline=1.0,
            detail=f"{len(probes)} new faces of people who match, in one call: the first is brute force's",
            target=Target.at_least(agreement, AGREEMENT_MIN, ""),
        ),
    ]


def _ratio_figure(
    name: str,
    ours: npt.NDArray[np.float64],
    theirs: npt.NDArray[np.float64],
    detail: str,
    ratio_max: float | None = None,
) -> Figure:
    ratio, baseline_ms = typical_ratio(ours, theirs), percentile_ms(theirs, 50)
    target = None if ratio_max is None else Target.at_most(ratio, round(ratio_max, 2))
    return Figure(name, baseline_ms * ratio, "ms", baseline_ms, detail, target)


def _first_similarities(answer: Answer) -> Float32Array:
    """The best similarity of each probe, -inf where nothing was found."""
    if isinstance(answer, NeighborsAnswer):
        found = np.full(len(answer.counts), -np.inf, np.float32)
        firsts = np.cumsum(answer.counts) - answer.counts
        found[answer.counts > 0] = answer.similarities[firsts[answer.counts > 0]]
        return found
    shown = [one.candidates[0].similarity if one.candidates else -np.inf for one in answer.embeddings]
    return np.array(shown, np.float32)


def _explained(answer: Answer) -> Explanation:
    if answer.explanation is None:
        raise RuntimeError("the engine was not asked to explain")
    return answer.explanation


def _tombstone_figures(bench: Workbench, gallery: _Gallery) -> list[Figure]:
    """The whole store beside a copy in which ever more rows are deleted and no index is built anew."""
    copy = gallery.store.with_name(f"{gallery.store.name}-deleted")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(gallery.store, copy)
    order = np.random.default_rng(LABEL_SEED).permutation(len(gallery.people))
    figures = []
    deleted = 0
    try:
        with _opened(gallery.store) as whole, _opened(copy) as sparse:
            for name, share in TOMBSTONE_SHARES.items():
                wanted = int(share * len(order))
                _delete(sparse, order[deleted:wanted])
                deleted = wanted
                people = np.unique(gallery.people[order[wanted:]])
                probes = bench.population.probes(people[:: max(1, len(people) // AGREEMENT_PROBES)], seed=1).vectors
                for verb in VERBS:
                    figures += _pair_figures(bench, whole, sparse, verb, f"{gallery.size}.{name}", probes)
    finally:
        shutil.rmtree(copy)
    return figures


def _delete(engine: Engine, rows: npt.NDArray[np.int64]) -> None:
    block = engine.limits.face_ids_per_request_max
    for first in range(0, len(rows), block):
        engine.faces.delete(GALLERY, [_face_id(row) for row in rows[first : first + block].tolist()])


def _pair_figures(
    bench: Workbench, whole: Engine, sparse: Engine, verb: str, name: str, probes: Float32Array
) -> list[Figure]:
    call, choices = VERBS[verb], SearchChoices()
    packed = [engine_calls.packed(probes[number : number + 1]) for number in range(len(probes))]
    batch = engine_calls.packed(np.ascontiguousarray(probes[:BATCH_PROBES]))
    plan = _explained(call(sparse, packed[0], SearchChoices(explain=True))).plan
    ours, theirs = seconds_in_turn(
        [
            lambda number, engine=engine: call(engine, packed[number % len(packed)], choices)
            for engine in (sparse, whole)
        ],
        rounds=6 if bench.is_quick else 12,
        calls_per_round=ROUND_PROBES,
        warm_up_calls=ROUND_PROBES,
    )
    ours_batch, theirs_batch = seconds_in_turn(
        [lambda _number, engine=engine: call(engine, batch, choices) for engine in (sparse, whole)],
        rounds=9,
        warm_up_calls=2,
    )
    detail = f"the default effort, plan {plan}, beside the same store with nothing deleted"
    prefix = f"{verb}.tombstones.{name}"
    return [
        _ratio_figure(
            f"{prefix}.one_probe.ratio_to_none", ours, theirs, f"one probe a call, {detail}", TOMBSTONE_RATIO_MAX
        ),
        _ratio_figure(
            f"{prefix}.batch.ratio_to_none",
            ours_batch,
            theirs_batch,
            f"{BATCH_PROBES} probes a call, {detail}",
            TOMBSTONE_RATIO_MAX,
        ),
    ]
