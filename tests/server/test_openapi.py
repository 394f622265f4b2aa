"""The OpenAPI document says what the server does: its routes, fields, answers and refusals."""

import asyncio
import dataclasses
import re

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from tests.server.chunked_parts import BASE, Caller, form, wav
from webrtc_avatar.chunked.options import RANGES, ChunkedOptions, read_options
from webrtc_avatar.errors import InvalidRequest
from webrtc_avatar.server import uploads
from webrtc_avatar.server.app import create_app
from webrtc_avatar.server.openapi import document
from webrtc_avatar.settings import Settings


def schema_of(name):
    return {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}


def test_every_route_is_in_the_document_and_nothing_else():
    routes = {
        (route.method, route.resource.canonical)
        for route in create_app(Settings()).router.routes()
        if route.method not in ("HEAD", "OPTIONS")
    }
    described = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert described == routes


def test_the_document_is_well_formed():
    described = document()
    assert described["openapi"].startswith("3.1")
    for name, schema in described["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert re.fullmatch(r"[A-Za-z]+", name)
    operations = [item for methods in described["paths"].values() for item in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    text = str(described)
    used = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert used <= set(described["components"]["schemas"])
    for path, methods in described["paths"].items():
        for operation in methods.values():
            told = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
            assert told == set(re.findall(r"{(\w+)}", path))
            assert "500" in operation["responses"] or operation["operationId"] == "lipsync"


def test_fields_defaults_and_ranges_of_the_form_are_those_of_its_reader():
    properties = document()["components"]["schemas"]["ChunkedForm"]["properties"]
    fields = {field.name: field for field in dataclasses.fields(ChunkedOptions)}
    assert set(properties) == {"image", "pose_style", "gaze_style", *fields} - {"style"}
    assert document()["components"]["schemas"]["ChunkedForm"]["required"] == ["image"]
    read = read_options({})
    for name in set(fields) - {"style"}:
        assert getattr(read, name) == fields[name].default == properties[name].get("default")
    for name in RANGES:
        least, most = properties[name]["minimum"], properties[name]["maximum"]
        for value in (least, most):
            assert getattr(read_options({name: str(value)}), name) == value
        step = 1 if properties[name]["type"] == "integer" else 1e-6
        for value in (least - step, most + step):
            with pytest.raises(InvalidRequest, match=name):
                read_options({name: str(value)})
    pattern = properties["session_id"]["pattern"]
    for name in ("a", "A-b_9", "x" * 64, "", "x" * 65, "a b", "a/b"):
        taken = bool(re.search(pattern, name))
        if name:
            try:
                read_options({"session_id": name})
            except InvalidRequest:
                assert not taken
            else:
                assert taken


class Walk:
    """Calls of a server whose answers are compared with the document."""

    def __init__(self, client):
        self.client = client
        self.seen = {}

    async def __call__(self, method, path, route, **arguments):
        answer = await self.client.request(method, path, **arguments)
        operation = document()["paths"][route][method.lower()]
        assert str(answer.status) in operation["responses"], (method, path, answer.status, await answer.text())
        self.seen.setdefault((method, route), set()).add(answer.status)
        described = operation["responses"][str(answer.status)]
        content = described.get("content", {})
        body = await answer.read()
        if "application/json" in content:
            assert answer.content_type == "application/json"
            schema = content["application/json"]["schema"] | {"components": document()["components"]}
            Draft202012Validator(schema).validate(await answer.json())
            if answer.status >= 400 and "error" in await answer.json():
                code = (await answer.json())["error"]["code"]
                assert f"`{code}`" in described["description"], (method, path, code)
        elif content and method != "HEAD":
            family = next(iter(content)).split("/")[0]
            assert family in ("*", answer.content_type.split("/")[0])
        return answer, body


INIT, FEED = f"{BASE}/init", f"{BASE}/feed"
STATUS, DELETE = f"{BASE}/status/{{session_id}}", f"{BASE}/session/{{session_id}}"
PLAYLIST, MEDIA = "/hls/{session_id}/playlist.m3u8", "/hls/{session_id}/{name}"
UNREACHED = {"500", "501", "503"}


async def test_chunked_sessions_answer_what_the_document_says_and_nothing_else(start, photo, talk, monkeypatch):
    server = await start(chunked_max_sessions=2, chunked_max_audio_bytes=2_000_000, chunked_max_pending_s=10)
    walk = Walk(server.client)
    sound = wav(talk[:8_000])

    async def feed(session_id, data=sound, **fields):
        return await walk("POST", FEED, FEED, data=form(session_id=session_id, audio_chunk=data, **fields))

    foreign = {"headers": {"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"}}
    answer, _ = await walk("POST", INIT, INIT, data=form(image=photo, chunk_duration=0.1))
    session_id = (await answer.json())["session_id"]
    grey = np.full((99, 99, 3), 99, np.uint8)
    import cv2

    empty = bytes(cv2.imencode(".png", grey)[1].tobytes())
    await walk("POST", INIT, INIT, data=form(image=empty))
    await walk("POST", INIT, INIT, data=form(image=photo, nfe=1))
    await walk("POST", INIT, INIT, data=form(image=photo, session_id=session_id))
    await walk("POST", INIT, INIT, data=form(image=bytes(11_000_000)))
    await walk("POST", INIT, INIT, data=form(image=photo), **foreign)
    await walk("POST", INIT, INIT, data=form(image=empty, crop="false", session_id="second"))
    await walk("POST", INIT, INIT, data=form(image=photo))
    await walk("GET", f"{BASE}/status/{session_id}", STATUS)
    await walk("GET", f"{BASE}/status/nobody", STATUS)
    await feed(session_id)
    await feed(session_id, b"noise" * 99)
    await feed(session_id, (b"abc", "audio/l16"))
    await feed(session_id, bytes(2_100_000))
    await feed("nobody")
    await walk("POST", FEED, FEED, data=form(audio_chunk=sound), **foreign)
    await feed("second", wav(np.zeros(8_000 * 30, np.float32), 8_000))
    while (
        walk.seen[("POST", FEED)]
        and (await feed("second", wav(np.zeros(8_000 * 30, np.float32), 8_000)))[0].status != 413
    ):
        pass
    await feed(session_id, is_final_chunk="true")
    await feed(session_id)
    await walk("GET", f"/hls/{session_id}/playlist.m3u8", PLAYLIST)
    await walk("GET", f"/hls/{session_id}/playlist.m3u8?_HLS_msn=x", PLAYLIST)
    await walk("GET", "/hls/nobody/playlist.m3u8", PLAYLIST)
    await Caller(server, photo).until(session_id)
    await walk("GET", f"/hls/{session_id}/init.mp4", MEDIA)
    await walk("GET", f"/hls/{session_id}/seg_0.m4s", MEDIA, headers={"Range": "bytes=0-99"})
    await walk("GET", f"/hls/{session_id}/seg_0.m4s", MEDIA, headers={"Range": "bytes=99999999-"})
    await walk("GET", f"/hls/{session_id}/seg_999.m4s", MEDIA)
    await walk("DELETE", f"{BASE}/session/{session_id}", DELETE, **foreign)
    await walk("DELETE", f"{BASE}/session/{session_id}", DELETE)
    await walk("DELETE", f"{BASE}/session/{session_id}", DELETE)
    monkeypatch.setattr(uploads, "TIMEOUT_S", 0.1)

    async def slow():
        yield b"--b\r\n"
        await asyncio.sleep(0.5)
        yield b"x"

    for path in (INIT, FEED):
        await walk("POST", path, path, data=slow(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    for (method, route), statuses in walk.seen.items():
        described = set(document()["paths"][route][method.lower()]["responses"]) - UNREACHED
        assert {str(status) for status in statuses} - UNREACHED == described, route
    assert 503 in walk.seen[("POST", INIT)]


async def test_the_other_endpoints_answer_what_the_document_says(server):
    walk = Walk(server.client)
    one = "/api/sessions/{session_id}"
    for path in ("/api/config", "/api/sessions", "/health", "/ready", "/metrics", "/openapi.json", "/"):
        await walk("GET", path, path)
    await walk("GET", "/kiosk.html", "/{path}")
    await walk("GET", "/nothing-here", "/{path}")
    await walk("GET", "/api/avatars/iris/poster", "/api/avatars/{name}/poster")
    await walk("GET", "/api/avatars/nobody/poster", "/api/avatars/{name}/poster")
    answer, _ = await walk("POST", "/api/sessions", "/api/sessions", json={"avatar": "iris"})
    session_id = (await answer.json())["session_id"]
    await walk("POST", "/api/sessions", "/api/sessions", json={"avatar": "nobody"})
    await walk("POST", "/api/sessions", "/api/sessions", data="{", headers={"Content-Type": "application/json"})
    await walk("GET", f"/api/sessions/{session_id}", one)
    await walk("GET", "/api/sessions", "/api/sessions")
    await walk("POST", "/offer", "/offer", json={"type": "offer"})
    await walk("POST", "/offer", "/offer", json={"type": "offer", "sdp": "v=0"})
    await walk("POST", f"/whep/{session_id}", "/whep/{session_id}", data="x", headers={"Content-Type": "text/plain"})
    await walk("POST", "/whep/nobody", "/whep/{session_id}", data="v=0", headers={"Content-Type": "application/sdp"})
    await walk("DELETE", f"/whep/{session_id}/nobody", "/whep/{session_id}/{viewer_id}")
    await walk("DELETE", f"/api/sessions/{session_id}", one)
    await walk("DELETE", f"/api/sessions/{session_id}", one)
    await walk("GET", "/api/faces/nobody", "/api/faces/{name}")
    await walk("GET", "/ws/lipsync", "/ws/lipsync")
    answer, _ = await walk("POST", "/api/faces", "/api/faces", data=form(image=b"no picture"))
    assert answer.status == 400


async def test_the_document_is_served_as_it_is_made(server):
    answer = await server.client.get("/openapi.json")
    assert await answer.json() == document()


async def test_speech_answers_what_the_document_says(start):
    server = await start(speech_workers=1)
    walk = Walk(server.client)
    one = "/api/sessions/{session_id}"
    await walk("GET", "/api/voices", "/api/voices")
    await walk("POST", "/api/speech", "/api/speech", json={"text": "Hello."})
    await walk("POST", "/api/speech", "/api/speech", json={"text": "Hello."}, headers={"Accept": "audio/ogg"})
    for body in (
        {"text": ""},
        {"text": "a", "voice": "nobody"},
        {"text": "a", "emotion": "joy"},
        {"text": "<speak><x/></speak>"},
    ):
        await walk("POST", "/api/speech", "/api/speech", json=body)
    await walk("GET", "/api/speech/status", "/api/speech/status")
    answer, _ = await walk("POST", "/api/sessions", "/api/sessions", json={})
    session_id = (await answer.json())["session_id"]
    await walk("POST", f"/api/sessions/{session_id}/speak", f"{one}/speak", json={"text": "Hello.", "interrupt": True})
    await walk("POST", f"/api/sessions/{session_id}/speak", f"{one}/speak", json={"text": "a", "interrupt": "x"})
    await walk("POST", f"/api/sessions/{session_id}/audio", f"{one}/audio", data=form(audio=wav(np.zeros(8_000))))
    await walk("POST", f"/api/sessions/{session_id}/audio", f"{one}/audio", data=form(audio=b"noise"))
    await walk("POST", f"/api/sessions/{session_id}/interrupt", f"{one}/interrupt")
    await walk("POST", "/api/sessions/nobody/interrupt", f"{one}/interrupt")
    for kind in ("speak", "audio"):
        await walk("GET", f"/ws/{kind}/{session_id}", f"/ws/{kind}/{{session_id}}")
        await walk("GET", f"/ws/{kind}/nobody", f"/ws/{kind}/{{session_id}}")
