"""Measures a built index on the gallery's own faces: what each effort finds, and whether stages serve it better."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from mien_server.index.build_job import BuildJob
from mien_server.index.ladder import SearchedLists, exact_answers, ladder_of, measure_efforts
from mien_server.index.manifest import Staging
from mien_server.index.measurement import Measurement
from mien_server.index.plan import cheapest_step
from mien_server.index.probing import choose_probes
from mien_server.index.request import Int64Array
from mien_server.index.rescore import StoredVectors
from mien_server.index.staging import staging_of

__all__ = ["measured_index"]

PROBE_COUNT_MIN = 1000
PROBE_COUNT_MAX = 1500
COMPARISONS_MAX = 200_000_000
"""Probes times rows up to which more probes than the least are worth their time."""

RELAXED_TARGETS = (0.98, 0.99, 0.995)
"""Targets below the default for which stages are kept besides."""


def measured_index(
    index: SearchedLists,
    job: BuildJob,
    vectors: StoredVectors,
    live_ordinals: Int64Array,
    report: Callable[[float], None],
) -> Measurement:
    """Measure the index, which holds the job's live rows.

    Args:
        report: told the share that is done.
    """
    report(0.0)
    generator = np.random.default_rng([job.seed, 2])
    probe_count = min(max(PROBE_COUNT_MIN, COMPARISONS_MAX // live_ordinals.size), PROBE_COUNT_MAX)
    probes = choose_probes(vectors, live_ordinals, job.identity_numbers, probe_count, generator)
    exact = exact_answers(vectors, job.live, job.identity_numbers, probes, job.threads)
    report(0.5)
    efforts = measure_efforts(vectors, index, probes, exact, job.threads, lambda share: report(0.5 + share / 2))
    ladder = ladder_of(efforts, exact.mated)
    probe_count = len(probes.vectors)
    target = job.default_recall_target

    def staging_for(wanted: float) -> Staging | None:
        single = cheapest_step(ladder, probe_count, wanted)
        return staging_of(efforts, exact, job.identity_numbers, index.lists, wanted, single)

    staging = staging_for(target)
    relaxed = [staging_for(wanted) for wanted in RELAXED_TARGETS if wanted < target]
    cheaper = [
        one for one in relaxed if one is not None and (staging is None or one.milliseconds < staging.milliseconds)
    ]
    return Measurement(
        ladder=ladder,
        staging=staging,
        probe_count=probe_count,
        rows=int(live_ordinals.size),
        recall_target=target,
        time_us=time.time_ns() // 1000,
        relaxed_stagings=tuple(sorted(set(cheaper), key=lambda one: one.milliseconds)),
    )
