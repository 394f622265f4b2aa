"""The queue and its processes: batches, and that nothing is lost, said twice or mixed up when something fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from tests.speech import odd_voices
from webrtc_avatar.errors import NothingToSay, ServerDraining, ServerFull, SpeechFailure
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.batching.options import BatchOptions
from webrtc_avatar.speech.batching.pool import SpeechPool
from webrtc_avatar.speech.voice import Piece, Utterance

FACTORIES = {"odd": "tests.speech.odd_voices:make", "broken": "tests.speech.odd_voices:broken"}
QUICK = BatchOptions(timeout_ms=150, workers=1)

MakePool = Callable[..., SpeechPool]


@pytest.fixture
async def make_pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[MakePool]:
    monkeypatch.setenv("ODD_VOICE_LOG", str(tmp_path / "log"))
    pools: list[SpeechPool] = []

    def make(options: BatchOptions = QUICK, **settings: int) -> SpeechPool:
        pools.append(SpeechPool(options, FACTORIES, Settings(**settings), Metrics()))  # type: ignore[arg-type]
        return pools[-1]

    yield make
    for pool in pools:
        await pool.aclose()


def said(tmp_path: Path) -> list[list[str]]:
    """Return the texts of each call of the voice."""
    return [line.split(" ", 1)[1].split("|") for line in (tmp_path / "log").read_text().splitlines()]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what is waited for happens in another process
        await asyncio.sleep(0.01)


async def sound(pieces: AsyncIterator[Piece]) -> np.ndarray:
    return np.concatenate([piece.samples async for piece in pieces])


def expected(text: str) -> np.ndarray:
    return np.concatenate([odd_voices.piece(0, text, number).samples for number in (0, 1)])


async def say(pool: SpeechPool, *texts: str, live: bool = False) -> list[np.ndarray | BaseException]:
    asked = [sound(pool.say(Utterance.of_text(text, "odd/one"), live=live)) for text in texts]
    return await asyncio.gather(*asked, return_exceptions=True)


def assert_said(answers: list[np.ndarray | BaseException], *texts: str) -> None:
    for answer, text in zip(answers, texts, strict=True):
        assert isinstance(answer, np.ndarray), answer
        np.testing.assert_array_equal(answer, expected(text))


async def test_compatible_requests_share_one_call_and_each_gets_its_own(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    texts = ["a", "bb", "ccc", "dddd"]
    assert_said(await say(pool, *texts), *texts)
    assert said(tmp_path) == [texts]
    status = pool.status()
    assert (status.batches, status.mean_batch_size, status.succeeded, status.queue_size) == (1, 4.0, 4, 0)


async def test_another_speed_is_another_batch(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    speeds = [1.0, 1.5, 1.0]
    await asyncio.gather(*(sound(pool.say(Utterance.of_text("x", "odd/one", speed=speed))) for speed in speeds))
    assert sorted(map(len, said(tmp_path))) == [1, 2]


async def test_times_of_phonemes_and_words_come_along(make_pool: MakePool) -> None:
    pieces = [piece async for piece in make_pool().say(Utterance.of_text("word", "odd/one"))]
    assert [piece.words for piece in pieces] == [odd_voices.piece(0, "word", number).words for number in (0, 1)]
    assert [piece.phonemes for piece in pieces] == [odd_voices.piece(0, "word", number).phonemes for number in (0, 1)]
    assert [piece.last for piece in pieces] == [False, True]


async def test_a_poisoned_request_harms_none_of_its_batch(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    answers = await say(pool, "a", "raise", "ccc", "dddd")
    poisoned = answers.pop(1)
    assert isinstance(poisoned, SpeechFailure)
    assert "poisoned" in poisoned.message
    assert_said(answers, "a", "ccc", "dddd")
    assert Counter(map(len, said(tmp_path))) == {4: 1, 1: 4}
    assert pool.status().retried == 4
    assert pool.status().workers_replaced == 0


async def test_a_request_that_its_voice_refuses_fails_alone_and_at_once(make_pool: MakePool, tmp_path: Path) -> None:
    answers = await say(make_pool(), "a", "fail", "ccc")
    refused = answers.pop(1)
    assert isinstance(refused, NothingToSay)
    assert refused.message == "there is nothing in it"
    assert_said(answers, "a", "ccc")
    assert len(said(tmp_path)) == 1


async def test_a_request_that_kills_its_process_fails_alone(make_pool: MakePool) -> None:
    pool = make_pool()
    answers = await say(pool, "a", "die", "ccc", "dddd")
    deadly = answers.pop(1)
    assert isinstance(deadly, SpeechFailure)
    assert "ended with 3" in deadly.message
    assert_said(answers, "a", "ccc", "dddd")
    assert pool.status().workers_replaced == 2


async def test_a_process_that_is_killed_from_outside_loses_nothing(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    asked = asyncio.create_task(say(pool, "slow", "b", "ccc"))
    await until(lambda: bool(pool.pids()) and (tmp_path / "log").exists())
    await asyncio.sleep(0.1)
    os.kill(pool.pids()[0], signal.SIGKILL)
    assert_said(await asked, "slow", "b", "ccc")
    assert pool.status().workers_replaced == 1
    assert pool.status().failed == 0


async def test_an_idle_process_that_dies_is_replaced_and_nobody_notices(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    assert_said(await say(pool, "a"), "a")
    os.kill(int((tmp_path / "log").read_text().split()[0]), signal.SIGKILL)
    await until(lambda: pool.status().workers_replaced == 1)
    assert_said(await say(pool, "bb"), "bb")
    assert pool.status().retried == 0


async def test_a_process_that_hangs_is_replaced(make_pool: MakePool) -> None:
    pool = make_pool(BatchOptions(timeout_ms=100, workers=2, answer_timeout_s=0.7))
    answers = await say(pool, "a", "hang", "ccc")
    hanging = answers.pop(1)
    assert isinstance(hanging, SpeechFailure)
    assert "said nothing for 0.7 s" in hanging.message
    assert_said(answers, "a", "ccc")


async def test_a_process_that_holds_too_much_memory_is_replaced(make_pool: MakePool) -> None:
    pool = make_pool(BatchOptions(timeout_ms=100, workers=1, memory_mb=400))
    answers = await say(pool, "a", "grow")
    growing = answers.pop(1)
    assert isinstance(growing, SpeechFailure)
    assert "400 MB" in growing.message
    assert_said(answers, "a")


async def test_without_batching_each_is_said_alone(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(BatchOptions(batching=False))
    answers = await say(pool, "a", "raise", "ccc")
    assert isinstance(answers.pop(1), SpeechFailure)
    assert_said(answers, "a", "ccc")
    assert {len(texts) for texts in said(tmp_path)} == {1}
    assert not pool.status().batching_enabled


async def test_live_requests_do_not_wait_for_long_productions(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(BatchOptions(timeout_ms=100, workers=2, max_batch_size=1))
    assert_said(await say(pool, "warm", live=True), "warm")
    texts = [f"slow{n}" for n in range(4)]
    bulk = asyncio.create_task(say(pool, *texts))
    await asyncio.sleep(0.2)
    assert_said(await say(pool, "x", live=True), "x")
    assert not bulk.done()
    assert_said(await bulk, *texts)
    order = [texts[0] for texts in said(tmp_path)]
    assert order.index("x") <= 2


async def test_a_request_that_is_given_up_while_it_waits_costs_nothing(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool()
    given_up = asyncio.create_task(sound(pool.say(Utterance.of_text("never", "odd/one"))))
    await asyncio.sleep(0.05)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert_said(await say(pool, "a"), "a")
    assert said(tmp_path) == [["a"]]
    assert pool.status().given_up == 1


async def test_a_request_that_is_given_up_while_it_is_said_frees_its_process(make_pool: MakePool) -> None:
    pool = make_pool()
    pieces = pool.say(Utterance.of_text("slow", "odd/one"))
    async for _ in pieces:
        break
    await pieces.aclose()  # type: ignore[attr-defined]
    assert_said(await say(pool, "a"), "a")
    assert pool.status().given_up == 1
    assert pool.status().succeeded == 1


async def test_a_voice_that_does_not_load_is_an_error_of_those_who_ask_for_it(make_pool: MakePool) -> None:
    pool = make_pool()
    with pytest.raises(SpeechFailure, match="no weights"):
        await sound(pool.say(Utterance.of_text("a", "broken/one")))
    assert_said(await say(pool, "a"), "a")


async def test_a_full_queue_refuses_the_next_one(make_pool: MakePool) -> None:
    pool = make_pool(speech_max_queue=2)
    waiting = asyncio.create_task(say(pool, "a", "bb"))
    await asyncio.sleep(0)
    with pytest.raises(ServerFull, match="2 requests for speech"):
        pool.say(Utterance.of_text("ccc", "odd/one"))
    assert_said(await waiting, "a", "bb")


async def test_closing_answers_everybody_and_leaves_no_process(make_pool: MakePool) -> None:
    pool = make_pool(BatchOptions(timeout_ms=0, workers=1, max_batch_size=1))
    asked = asyncio.create_task(say(pool, "hang", "bb"))
    await until(lambda: bool(pool.pids()))
    (pid,) = pool.pids()
    await pool.aclose()
    assert all(isinstance(answer, ServerDraining) for answer in await asked)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ServerDraining):
        pool.say(Utterance.of_text("a", "odd/one"))


async def test_a_second_process_starts_when_there_is_more_to_say_than_one_can(make_pool: MakePool) -> None:
    pool = make_pool(BatchOptions(timeout_ms=0, workers=2, max_batch_size=1))
    assert_said(await say(pool, "a"), "a")
    await asyncio.sleep(0.3)
    assert pool.status().ready_workers == 1
    texts = [f"slow{n}" for n in range(6)]
    assert_said(await say(pool, *texts), *texts)
    assert pool.status().ready_workers == 2
    assert pool.status().total_workers == 2
