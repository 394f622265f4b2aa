"""Uploaded faces on a media server whose engine is another process: they are rendered here, everybody else there."""

import asyncio

import numpy as np

from tests.engine.test_remote import engine, lips_move, new_pictures
from tests.server.chunked_parts import Caller, pictures_of, wav
from tests.server.test_faces import uploaded
from webrtc_avatar.server.chunked import CHUNKED


async def test_uploaded_faces_speak_though_the_engine_is_another_process(start, make_peer, photo, talk, tmp_path):
    async with engine() as (process, address):
        server = await start(engines=[address])
        caller, renderer = Caller(server, photo), server.client.app[CHUNKED].engine
        assert renderer.runtime_name.startswith(address)
        session_id = await caller.init()
        await caller.feed(session_id, wav(talk[:48_000]), True)
        assert (await caller.until(session_id))["total_frames_generated"] == 75
        film = np.stack(pictures_of(await caller.film(session_id, tmp_path / "film"))).astype(int)
        assert np.std(film[:, 330:420, 200:310], axis=0).mean() > 3
        assert "here onnxruntime:cpu" in renderer.runtime_name
        assert [worker.device for worker in renderer.status().workers] == [
            f"{address} onnxruntime:cpu",
            "onnxruntime:cpu",
        ]
        assert server.metric("webrtc_avatar_engine_healthy_workers") == 2

        face = await uploaded(server, photo)
        mine, hers = make_peer(server), make_peer(server)
        await asyncio.gather(mine.join(avatar=face["name"]), hers.join())
        for peer in (mine, hers):
            await peer.event(type="state", state="speaking")
            assert lips_move(await new_pictures(peer)) > 3
        by_worker = [worker.tally.frames for worker in renderer.status().workers]
        assert min(by_worker) > 20, "the engine elsewhere renders iris, the one here the faces"

        process.kill()
        await process.wait()
        async with asyncio.timeout(20):
            while renderer.status().workers:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert (await server.client.get("/ready")).status == 503
        again = await caller.init()
        await caller.feed(again, wav(talk[:16_000]), True)
        assert (await caller.until(again))["total_frames_generated"] == 25, "uploaded faces need no engine elsewhere"
