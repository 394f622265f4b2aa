"""Work in order."""

import asyncio
from contextlib import aclosing

import pytest

from webrtc_avatar.rpc.pipeline import in_order


async def numbers(count, taken=None):
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield number


async def test_results_come_in_order_however_long_each_takes():
    done = []

    async def work(number):
        for _ in range(10 - number):
            await asyncio.sleep(0)
        done.append(number)
        return number

    assert [result async for result in in_order(numbers(10), work, ahead=10)] == list(range(10))
    assert done != list(range(10))


async def test_no_more_is_taken_than_is_worked_on():
    taken = []

    async def work(number):
        return number

    results = in_order(numbers(100, taken), work, ahead=3)
    async with aclosing(results):
        for _ in range(5):
            await anext(results)
        for _ in range(20):
            await asyncio.sleep(0)
    assert len(taken) <= 5 + 3 + 1


async def test_an_error_comes_in_its_place_and_what_follows_is_cancelled():
    cancelled = []

    async def work(number):
        if number == 2:
            raise ValueError("two")
        try:
            if number > 2:
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    results = in_order(numbers(5), work, ahead=5)
    assert [await anext(results), await anext(results)] == [0, 1]
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="two"):
        await anext(results)
    assert cancelled


async def test_what_the_items_raise_comes_after_the_results_before_it():
    async def broken():
        yield 1
        raise KeyError("end")

    async def work(number):
        return number

    results = in_order(broken(), work, ahead=5)
    assert await anext(results) == 1
    with pytest.raises(KeyError):
        await anext(results)


async def test_closing_ends_the_items_and_the_work():
    ended = []

    async def endless():
        try:
            while True:
                yield 1
        finally:
            ended.append("items")

    async def work(number):
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("work")

    results = in_order(endless(), work, ahead=2)
    waiting = asyncio.create_task(anext(results))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await results.aclose()
    assert "items" in ended
    assert ended.count("work") >= 2
