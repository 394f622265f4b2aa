"""Which requests share a batch, and how long they wait for each other."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import pytest

from webrtc_avatar.speech.batching.backlog import Backlog
from webrtc_avatar.speech.batching.options import BatchOptions, preset


@dataclass(eq=False)
class Asked:
    name: str
    key: Hashable = "a"
    length: int = 10
    live: bool = False
    alone: bool = False
    queued_s: float = 0.0


OPTIONS = BatchOptions(max_batch_size=4, timeout_ms=500, max_text_length=100)


def backlog(*jobs: Asked, options: BatchOptions = OPTIONS) -> Backlog[Asked]:
    waiting: Backlog[Asked] = Backlog(options)
    for job in jobs:
        waiting.add(job)
    return waiting


def names(batch: list[Asked]) -> str:
    return "".join(job.name for job in batch)


def test_one_that_is_alone_waits_for_company_and_no_longer() -> None:
    waiting = backlog(Asked("x"))
    assert waiting.next_due_s() == 0.5
    assert not waiting.take(0.49)
    assert names(waiting.take(0.5)) == "x"
    assert len(waiting) == 0
    assert waiting.next_due_s() is None


def test_a_full_batch_goes_at_once_and_the_rest_stays() -> None:
    waiting = backlog(*(Asked(name) for name in "abcde"))
    assert names(waiting.take(0.0)) == "abcd"
    assert not waiting.take(0.0)
    assert names(waiting.take(0.5)) == "e"


def test_what_differs_in_any_setting_goes_apart() -> None:
    waiting = backlog(Asked("a", key=("heart", 1.0)), Asked("b", key=("heart", 1.2)), Asked("c", key=("heart", 1.0)))
    assert names(waiting.take(0.5)) == "ac"
    assert names(waiting.take(0.5)) == "b"


def test_a_batch_holds_no_more_text_than_allowed_and_one_that_cannot_grow_goes_at_once() -> None:
    waiting = backlog(Asked("a", length=60), Asked("b", length=50), Asked("c", length=30))
    assert names(waiting.take(0.0)) == "a"
    assert not waiting.take(0.0)
    assert names(waiting.take(0.5)) == "bc"


def test_a_text_that_is_too_long_for_a_batch_goes_alone_and_at_once() -> None:
    waiting = backlog(Asked("a", length=500))
    assert names(waiting.take(0.0)) == "a"


def test_live_requests_go_first_at_once_and_among_themselves() -> None:
    waiting = backlog(
        Asked("a"), Asked("b"), Asked("c", live=True), Asked("d", live=True), Asked("e", live=True, key="z")
    )
    assert names(waiting.take(0.0)) == "cd"
    assert names(waiting.take(0.0)) == "e"
    assert not waiting.take(0.0)
    assert names(waiting.take(0.5)) == "ab"


def test_only_live_requests_are_taken_where_that_is_asked() -> None:
    waiting = backlog(*(Asked(name) for name in "abcd"))
    assert not waiting.take(9.0, live_only=True)
    assert waiting.next_due_s(live_only=True) is None
    waiting.add(Asked("l", live=True, queued_s=8.0))
    assert waiting.next_due_s(live_only=True) == 8.0
    assert names(waiting.take(9.0, live_only=True)) == "l"


def test_those_whose_batch_failed_go_alone_and_at_once() -> None:
    waiting = backlog(Asked("a", alone=True), Asked("b", alone=True), Asked("c"))
    assert names(waiting.take(0.0)) == "a"
    assert names(waiting.take(0.0)) == "b"
    assert not waiting.take(0.0)


def test_without_batching_each_goes_alone_and_at_once() -> None:
    waiting = backlog(Asked("a"), Asked("b"), options=replace(OPTIONS, batching=False))
    assert [names(waiting.take(0.0)) for _ in range(2)] == ["a", "b"]


def test_one_that_is_given_up_is_forgotten() -> None:
    job = Asked("a")
    waiting = backlog(job)
    assert waiting.remove(job)
    assert not waiting.remove(job)
    assert not waiting.take(9.0)


@pytest.mark.parametrize(
    ("name", "figures"),
    [("default", (4, 500, 2000, 2)), ("throughput", (6, 1000, 3000, 4)), ("latency", (2, 200, 1000, 2))],
)
def test_presets_are_those_of_the_seed_document(name: str, figures: tuple[int, ...]) -> None:
    options = preset(name)  # type: ignore[arg-type]
    assert (options.max_batch_size, options.timeout_ms, options.max_text_length, options.workers) == figures
