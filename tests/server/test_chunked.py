"""Chunked sessions over HTTP: real sound, a real engine, and films that FFmpeg decodes."""

import asyncio
import subprocess

import cv2
import numpy as np

from tests.server.chunked_parts import BASE, Caller, form, pictures_of, sound_of, wav
from webrtc_avatar.server.chunked import CHUNKED


async def test_a_sound_fed_in_chunks_becomes_a_film_with_all_of_it(caller, talk, tmp_path):
    status, body = await caller.post("init", image=caller.photo)
    assert status == 200
    session_id = body["session_id"]
    assert body["status"] == "success"
    assert body["hls_url"] == f"/hls/{session_id}/playlist.m3u8"
    assert (body["chunk_duration"], body["audio_sample_rate"]) == (1.0, 24_000)
    assert body["message"]
    before = await caller.status(session_id)
    assert set(before) == {
        "session_id", "status", "total_frames_generated", "buffer_samples", "error", "created_at", "uptime_seconds",
    }  # fmt: skip
    assert (before["status"], before["total_frames_generated"], before["error"]) == ("waiting_for_audio", 0, None)
    for start in range(0, len(talk), 11_111):
        final = start + 11_111 >= len(talk)
        status, body = await caller.feed(session_id, wav(talk[start : start + 11_111]), final)
        assert status == 200
        assert set(body) == {
            "status", "session_id", "buffer_samples", "frames_generated", "session_status", "message",
        }  # fmt: skip
    after = await caller.until(session_id)
    assert after["buffer_samples"] == 0
    frames = after["total_frames_generated"]
    assert frames == -(-len(talk) // 640)
    path = await caller.film(session_id, tmp_path / "film")
    assert len(pictures_of(path)) == frames
    played = sound_of(path)[1024:][: 3 * len(talk)]
    heard = played[::3]
    assert np.corrcoef(heard, talk[: len(heard)])[0, 1] > 0.98
    checked = await asyncio.to_thread(
        subprocess.run,
        ["ffmpeg", "-v", "warning", "-xerror", "-i", str(path), "-f", "null", "-"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")
    mouth = [picture[300:400, 180:330] for picture in pictures_of(path)]
    assert np.std(mouth, axis=0).mean() > 1, "nobody spoke"


async def test_seed_scale_and_style_change_the_film_as_their_names_promise(caller, talk, tmp_path):
    asked = {
        "one": {},
        "again": {},
        "other": {"seed": 7},
        "plain": {"cfg_scale": 1},
        "strong": {"cfg_scale": 5},
        "turned": {"pose_style": "[0, 3, 0]"},
    }
    films = {}
    for name, fields in asked.items():
        await caller.init(session_id=name, **fields)
        await caller.feed(name, wav(talk[:32_000]), True)
    for name in asked:
        await caller.until(name)
        path = await caller.film(name, tmp_path / name)
        films[name] = (path.parent / "seg_0.m4s").read_bytes(), np.stack(pictures_of(path)).astype(int)
    assert films["one"][0] == films["again"][0]
    assert np.abs(films["one"][1] - films["other"][1]).mean() > 0.3
    for part in (
        np.s_[330:420, 200:310],
        np.s_[80:160, 150:360],
    ):  # the mouth, and the forehead, which moves with the head
        motion = [np.std(films[name][1][:, *part], axis=0).mean() for name in ("plain", "one", "strong")]
        assert motion == sorted(motion)
        assert motion[2] > 1.1 * motion[0]
    assert np.abs(films["one"][1] - films["turned"][1]).mean() > 0.5


async def test_without_a_face_crop_decides_between_a_refusal_and_a_warning(caller, talk):
    grey = bytes(cv2.imencode(".png", np.full((200, 160, 3), 120, np.uint8))[1].tobytes())
    status, body = await caller.post("init", image=grey)
    assert (status, "face" in body["detail"]) == (400, True)
    status, body = await caller.post("init", image=grey, crop="false")
    assert status == 200
    assert "centred" in body["warnings"][0]
    await caller.feed(body["session_id"], wav(talk[:8_000]), True)
    assert (await caller.until(body["session_id"]))["total_frames_generated"] == 13


async def test_segments_appear_while_sound_is_still_fed_and_browsers_may_fetch_them(caller, talk):
    session_id = await caller.init()
    await caller.feed(session_id, wav(np.tile(talk, 2)[: 16_000 * 5]))
    answer = await caller.client.get(f"/hls/{session_id}/playlist.m3u8")
    text = await answer.text()
    assert "seg_0.m4s" in text
    assert "ENDLIST" not in text
    assert answer.content_type == "application/vnd.apple.mpegurl"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "no-cache" in answer.headers["Cache-Control"]
    for name, kind in (("init.mp4", "video/mp4"), ("seg_0.m4s", "video/iso.segment")):
        answer = await caller.client.get(f"/hls/{session_id}/{name}")
        assert (answer.status, answer.content_type) == (200, kind)
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    for name in ("seg_99.m4s", "../x", ".lock", "seg_0.m4s.part", "%2e%2e/.lock"):
        assert (await caller.client.get(f"/hls/{session_id}/{name}")).status == 404
    assert (await caller.client.options(f"/hls/{session_id}/seg_0.m4s")).status == 204


async def test_low_latency_parts_are_waited_for(start, photo, talk):
    caller = Caller(await start(hls_part_s=0.4), photo)
    session_id = await caller.init()
    waiting = asyncio.create_task(caller.client.get(f"/hls/{session_id}/playlist.m3u8?_HLS_msn=1&_HLS_part=1"))
    hinted = asyncio.create_task(caller.client.get(f"/hls/{session_id}/seg_1.1.m4s"))
    await caller.feed(session_id, wav(talk[:24_000]))
    text = await (await waiting).text()
    assert 'URI="seg_1.1.m4s"' in text
    assert (await hinted).status == 200
    far = await caller.client.get(f"/hls/{session_id}/playlist.m3u8?_HLS_msn=40")
    assert far.status == 400
    assert (await caller.client.get(f"/hls/{session_id}/playlist.m3u8?_HLS_part=1")).status == 400


async def test_pictures_that_are_none_are_refused(start, photo):
    caller = Caller(await start(chunked_max_image_bytes=500_000, chunked_max_image_pixels=300_000), photo)
    large = bytes(cv2.imencode(".png", np.zeros((600, 600, 3), np.uint8))[1].tobytes())
    for image, expected in ((b"", 400), (b"no picture", 400), (photo[:60], 400), (large, 413), (bytes(600_000), 413)):
        status, body = await caller.post("init", image=image)
        assert (status, bool(body["detail"])) == (expected, True)
    assert (await caller.post("init", nothing="x"))[0] == 400
    plain = await caller.client.post(f"{BASE}/init", json={"image": "x"})
    assert plain.status == 400


async def test_too_much_at_once_is_413_and_nothing_of_it_is_taken(start, photo, talk):
    caller = Caller(await start(chunked_max_audio_bytes=400_000, chunked_max_pending_s=10), photo)
    session_id = await caller.init()
    status, body = await caller.feed(session_id, bytes(2_000_000))
    assert (status, "400000 bytes" in body["detail"]) == (413, True)
    assert (await caller.status(session_id))["buffer_samples"] == 0


async def test_who_is_unknown_or_has_finished_is_told_so(caller, talk):
    assert (await caller.feed("nobody", wav(talk)))[0] == 404
    assert (await caller.status("nobody"))["detail"]
    assert (await caller.client.delete(f"{BASE}/session/nobody")).status == 404
    session_id = await caller.init(session_id="my-name_1")
    assert session_id == "my-name_1"
    assert (await caller.post("init", image=caller.photo, session_id="my-name_1"))[0] == 409
    await caller.feed(session_id, wav(talk[:8_000]))
    assert (await caller.post("feed", session_id=session_id, is_final_chunk="true"))[0] == 200
    status, body = await caller.feed(session_id, wav(talk))
    assert (status, "final" in body["detail"]) == (409, True)
    await caller.until(session_id)
    assert (await caller.feed(session_id, wav(talk)))[0] == 409
    health = await caller.client.get("/health")
    assert (await health.json())["status"] == "healthy"


async def test_sessions_are_limited_and_deleting_one_takes_its_files(start, photo, talk, tmp_path):
    server = await start(chunked_max_sessions=2, hls_folder=tmp_path)
    caller = Caller(server, photo)
    first, _ = await caller.init(), await caller.init()
    answer = await caller.client.post(f"{BASE}/init", data=form(image=photo))
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    await caller.feed(first, wav(talk))
    (await caller.client.get(f"/hls/{first}/playlist.m3u8")).raise_for_status()
    assert len(list(tmp_path.glob(f"server-*/{first}/*"))) >= 3
    answer = await caller.client.delete(f"{BASE}/session/{first}")
    assert (answer.status, (await answer.json())["status"]) == (200, "success")
    assert not list(tmp_path.glob(f"server-*/{first}"))
    assert (await caller.client.get(f"/hls/{first}/playlist.m3u8")).status == 404
    await caller.init()
    await server.client.close()
    assert list(tmp_path.iterdir()) == []


async def test_idle_sessions_end_and_what_a_dead_server_left_is_deleted(start, photo, tmp_path):
    (tmp_path / "server-dead" / "abc").mkdir(parents=True)
    (tmp_path / "server-dead" / "abc" / "seg_0.m4s").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    caller = Caller(await start(hls_folder=tmp_path, chunked_idle_timeout_s=100), photo)
    assert not (tmp_path / "server-dead").exists()
    assert (tmp_path / "other").exists()
    session_id = await caller.init()
    sessions = caller.client.app[CHUNKED]
    active_s = sessions.get(session_id).active_s
    await sessions.end_idle(active_s + 99)
    assert len(sessions) == 1
    await sessions.end_idle(active_s + 101)
    assert len(sessions) == 0
    assert not list(tmp_path.glob(f"server-*/{session_id}"))


async def test_a_session_that_nobody_feeds_stays_a_live_stream(caller, talk):
    session_id = await caller.init(chunk_duration=0.1)
    await caller.feed(session_id, wav(talk[:3_200]))
    async with asyncio.timeout(30):
        text = await (await caller.client.get(f"/hls/{session_id}/playlist.m3u8?_HLS_msn=0")).text()
        assert "seg_0.m4s" in text
    body = await caller.status(session_id)
    assert (body["status"], body["buffer_samples"]) == ("processing", 0)
    assert body["total_frames_generated"] > 49
    await caller.feed(session_id, wav(talk[:16_000]), True)
    after = await caller.until(session_id)
    assert after["total_frames_generated"] > body["total_frames_generated"]


async def test_silence_costs_no_model_call(caller, talk):
    engine = caller.client.app[CHUNKED].engine
    mute, fed, idle = [await caller.init(chunk_duration=length) for length in (10, 10, 0.1)]
    before = engine.status().frames
    assert (await caller.client.get(f"/hls/{idle}/playlist.m3u8")).status == 200
    assert (await caller.status(idle))["total_frames_generated"] >= 50
    await caller.feed(mute, wav(np.zeros(48_000, np.float32)), True)
    assert (await caller.until(mute))["total_frames_generated"] == 75
    assert engine.status().frames == before
    await caller.feed(fed, wav(np.concatenate([np.zeros(32_000, np.float32), talk[:16_000]])), True)
    assert (await caller.until(fed))["total_frames_generated"] == 75
    assert 20 < engine.status().frames - before < 35


async def test_sessions_run_side_by_side(caller, talk):
    names = [await caller.init(session_id=f"s{n}") for n in range(3)]
    await asyncio.gather(*(caller.feed(name, wav(talk[: 16_000 * (n + 1)]), True) for n, name in enumerate(names)))
    done = await asyncio.gather(*(caller.until(name) for name in names))
    assert [body["total_frames_generated"] for body in done] == [25, 50, 75]
