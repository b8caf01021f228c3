"""Which erasures are tried next, how long one that failed waits, and whom it holds up."""

from __future__ import annotations

from mien_server.engine.pending_erasures import BATCH_MAX, RETRY_AFTER_S, RETRY_AFTER_S_MAX, PendingErasures


def pending(*names: str, now_s: float = 0.0) -> PendingErasures:
    made = PendingErasures()
    for place, name in enumerate(names):
        made.add(name, "people", 1 + place, now_s)
    return made


def test_the_oldest_are_carried_out_first_and_no_more_than_a_batch() -> None:
    """Those that were asked for first, in the order of their names."""
    made = PendingErasures()
    for number in range(BATCH_MAX + 10):
        made.add(f"{number:04d}", "people", number, float(-number))
    assert made.batch(0.0) == [f"{number:04d}" for number in range(10, BATCH_MAX + 10)]


def test_who_fails_waits_twice_as_long_each_time_and_new_ones_do_not() -> None:
    """Up to a bound; an erasure that is asked for meanwhile is due at once, and alone."""
    made = pending("a")
    now_s, waits = 0.0, []
    for _ in range(10):
        assert made.batch(now_s) == ["a"]
        made.note_failure(["a"], "the disk is full", now_s)
        assert made.batch(now_s) == []
        waits.append(made.next_s() - now_s)
        now_s = made.next_s()
    assert waits[:3] == [RETRY_AFTER_S, 2 * RETRY_AFTER_S, 4 * RETRY_AFTER_S]
    assert waits[-1] == RETRY_AFTER_S_MAX
    made.note_failure(["a"], "the disk is full", now_s)
    made.add("b", "people", 1, now_s)
    assert made.batch(now_s) == ["b"]
    assert made.batch(now_s + RETRY_AFTER_S_MAX) == ["b"], "those that failed are tried apart"
    made.remove(["b"], now_s)
    assert made.batch(now_s + RETRY_AFTER_S_MAX) == ["a"]
    assert (made.trouble_of("a"), made.trouble_of("b")) == ("the disk is full", "")


def test_one_that_waits_for_something_else_is_tried_as_often_as_before() -> None:
    """Waiting is no failure: it is not tried more seldom for it."""
    made, now_s = pending("a"), 0.0
    for _ in range(5):
        made.note_failure(["a"], "the index is being built", now_s, is_waiting=True)
        assert made.next_s() == now_s + RETRY_AFTER_S
        now_s = made.next_s()


def test_one_that_makes_others_fail_is_found_by_halves() -> None:
    """Nobody waits for it: batches are halved at once, until it fails alone."""
    names = [f"{number:02d}" for number in range(16)]
    made = pending(*names)
    rounds, failed_alone = 0, []
    while batch := made.batch(0.0):
        rounds += 1
        if "05" not in batch:
            made.remove(batch, 0.0)
            continue
        made.note_failure(batch, "cannot be read", 0.0, is_shared=True)
        if len(batch) == 1:
            failed_alone += batch
    assert failed_alone == ["05"]
    assert made.names() == ["05"]
    assert made.next_s() == RETRY_AFTER_S
    assert rounds <= 2 * 4 + 1


def test_one_in_doubt_is_kept_until_that_is_settled() -> None:
    """No view shows what a commit of unknown outcome wrote: it is looked for again after the next commit."""
    made = PendingErasures()
    made.add("a", "people", 5, 0.0, is_in_doubt=True)
    assert made.batch(0.0) == ["a"]
    made.remove(["a"], 0.0)
    assert made.names() == ["a"]
    assert made.batch(0.0) == []
    assert made.begun_before(100) == [], "nobody knows whether it was begun"
    assert made.settle_doubts(1.0)
    made.remove(["a"], 0.5)
    assert made.batch(1.0) == ["a"], "what was seen before it was settled says nothing"
    assert made.begun_before(100) == [("a", "people")]
    made.remove(["a"], 1.0)
    assert made.names() == []
    assert not made.settle_doubts(2.0)


def test_whoever_asks_again_has_it_tried_at_once() -> None:
    """It fails by something that may have been put right."""
    made = pending("a")
    made.note_failure(["a"], "refused", 0.0)
    assert made.batch(1.0) == []
    made.add("a", "people", 99, 1.0)
    assert made.batch(1.0) == ["a"]
    assert made.begun_before(50) == [("a", "people")], "since it was asked for first"
