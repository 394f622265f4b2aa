"""Work that is started as its items come and handed on in their order, so many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    items: AsyncIterable[Item], start: Callable[[Item], Awaitable[Result]], *, ahead: int
) -> AsyncGenerator[Result, None]:
    """Yield what `start` makes of each item, in the items' order.

    Args:
        items: taken no faster than results are, but for `ahead` of them; closed in the end if it is a generator.
        start: begins the work on an item.
        ahead: items that are worked on, or done, and not yet taken.

    Raises:
        Exception: what `items` or `start` raise, in its place in the order. What comes later is cancelled.
    """
    begun: asyncio.Queue[asyncio.Future[Result] | None] = asyncio.Queue(ahead)

    async def feed() -> None:
        try:
            async for item in items:
                await begun.put(asyncio.ensure_future(start(item)))
        except Exception as error:
            failed: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            await begun.put(failed)
            return
        await begun.put(None)

    feeder = asyncio.create_task(feed(), name="rpc-feed")
    current: asyncio.Future[Result] | None = None
    try:
        while (current := await begun.get()) is not None:
            yield await current
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
        left = [current] if current is not None else []
        while not begun.empty():
            if (future := begun.get_nowait()) is not None:
                left.append(future)
        for future in left:
            future.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if isinstance(items, AsyncGenerator):
            await items.aclose()
