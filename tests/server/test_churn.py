"""Coming and going must leave nothing behind."""

import asyncio

import psutil

from tests.server.peer import Peer
from tests.server.process import running

VISITS = 50
WARM_UP = 20
AT_ONCE = 5


async def visit(client, speech, number):
    """Join, see the avatar, and leave in one of three ways."""
    peer = Peer(client, speech if number % 5 else None)
    try:
        if number % 5:
            await peer.join()
        else:
            async with client.post("/api/sessions") as response:
                peer.session_id = (await response.json())["session_id"]
            await peer.watch(peer.session_id)
        await peer.until(lambda: len(peer.pictures) >= 3)
        if number % 2:
            async with client.delete(f"/api/sessions/{peer.session_id}") as response:
                assert response.status == 204
    finally:
        await peer.aclose()


async def visits(client, speech, count):
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(visit(client, speech, first + number) for number in range(AT_ONCE)))
    async with asyncio.timeout(30):
        while True:
            async with client.get("/api/sessions") as response:
                if not (await response.json())["sessions"]:
                    return
            await asyncio.sleep(0.05)  # nothing tells a client when the last session of all is gone


def belongings(process):
    """Return what a process holds: threads, file descriptors, UDP sockets, and memory in MB."""
    sockets = [item for item in process.net_connections("udp") if item.fd >= 0]
    return process.num_threads(), process.num_fds(), len(sockets), process.memory_info().rss >> 20


async def settled(process):
    """Return what it holds in the end: the kernel tells nobody when a descriptor is closed or memory comes back."""
    last = belongings(process)
    while True:
        await asyncio.sleep(3)
        if last == (last := belongings(process)):
            return last


async def test_fifty_visits_leave_threads_descriptors_sockets_and_memory_as_they_were(speech):
    async with running(WEBRTC_AVATAR_UNWATCHED_TIMEOUT_S="0.5", WEBRTC_AVATAR_MAX_SESSIONS=str(2 * AT_ONCE)) as (
        server,
        client,
    ):
        process = psutil.Process(server.pid)
        await visits(client, speech, WARM_UP)
        before = await settled(process)
        await visits(client, speech, VISITS)
        after = await settled(process)
    print(f"threads, descriptors, sockets, memory in MB: {before} before, {after} after")
    assert after[:3] == before[:3]
    assert after[3] - before[3] < 20


async def test_visits_leave_no_task_and_no_session_behind(start, speech):
    server = await start(unwatched_timeout_s=0.5, max_sessions=2 * AT_ONCE)
    await visits(server.client, speech, AT_ONCE)
    before = tasks_of_the_server()
    await visits(server.client, speech, 2 * AT_ONCE)
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "end-session"))
    assert tasks_of_the_server() == before
    assert len(server.live) == 0
    assert not server.live._tasks
    for state in ("connecting", "idle", "speaking", "closed"):
        assert not server.metric("webrtc_avatar_sessions", state=state), state


def tasks_of_the_server():
    """Return the names of tasks, those of keep-alive HTTP connections apart."""
    coroutines = (task.get_coro().__qualname__ for task in asyncio.all_tasks())
    return sorted(name for name in coroutines if not name.startswith("RequestHandler"))
