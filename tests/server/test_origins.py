"""Pages of other sites: who may do what, and what their browsers are told."""

import aiohttp
import pytest
from pydantic import ValidationError

from webrtc_avatar.settings import Settings

FRIEND, STRANGER = "https://shop.example", "https://elsewhere.example"
BASE = "/api/audio-driven/chunked"

ASKED = (
    ("POST", "/offer"),
    ("POST", "/api/sessions"),
    ("DELETE", "/api/sessions/none"),
    ("POST", f"{BASE}/init"),
    ("POST", f"{BASE}/feed"),
    ("DELETE", f"{BASE}/session/none"),
    ("PATCH", "/whep/none/none"),
)


def from_page(origin, site="cross-site", **more):
    return {"Origin": origin, "Sec-Fetch-Site": site, **more}


def asking(origin, method):
    wanted = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type"}
    return from_page(origin, **wanted)


async def test_pages_of_listed_origins_may_ask_everything_and_read_the_answers(start):
    server = await start(allowed_origins=[FRIEND, "http://localhost:3000"])
    for method, path in ASKED:
        for origin in (FRIEND, "http://localhost:3000"):
            before = await server.client.options(path, headers=asking(origin, method))
            assert before.status == 204, path
            assert method in before.headers["Access-Control-Allow-Methods"].split(", ")
            for header in ("Content-Type", "Authorization", "If-Match"):
                assert header in before.headers["Access-Control-Allow-Headers"]
            answer = await server.client.request(method, path, headers=from_page(origin))
            assert answer.status != 403, path
            watching = path.startswith("/whep/")
            for each in (before, answer):
                assert each.headers["Access-Control-Allow-Origin"] == ("*" if watching else origin)
                assert watching or "Origin" in each.headers["Vary"]
                for header in ("Location", "Link", "ETag", "Retry-After"):
                    assert header in each.headers["Access-Control-Expose-Headers"]
                assert "Access-Control-Allow-Credentials" not in each.headers


@pytest.mark.parametrize("origins", [[], [FRIEND]])
async def test_pages_of_others_may_neither_change_nor_read_anything(start, origins):
    server = await start(allowed_origins=origins)
    for method, path in ASKED[:-1]:
        before = await server.client.options(path, headers=asking(STRANGER, method))
        assert "Access-Control-Allow-Origin" not in before.headers, path
        for headers in (
            from_page(STRANGER),
            from_page("http://127.0.0.1:1", "same-site"),
            from_page("null"),
            from_page(FRIEND + ".evil.example"),
            {"Origin": STRANGER},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            answer = await server.client.request(method, path, headers=headers)
            assert answer.status == 403, (path, headers)
            assert (await answer.json())["error"]["code"] == "forbidden"
            assert "Access-Control-Allow-Origin" not in answer.headers
    read = await server.client.get("/api/config", headers=from_page(STRANGER))
    assert "Access-Control-Allow-Origin" not in read.headers
    assert ("Origin" in read.headers.get("Vary", "")) is bool(origins)


async def test_own_pages_and_programs_need_no_listing(server):
    own = f"http://{server.client.host}:{server.client.port}"
    for headers in (
        {},
        {"Origin": own},
        from_page(own, "same-origin"),
        from_page("https://proxy.example", "same-origin"),
    ):
        assert (await server.client.post("/api/sessions", headers=headers)).status == 201
    assert (await server.client.get("/api/config", headers={"Sec-Fetch-Site": "none"})).status == 200


async def test_any_origin_is_allowed_where_that_is_said_but_never_with_credentials(start):
    server = await start(allowed_origins=["*"])
    for origin in (STRANGER, "null"):
        assert (await server.client.options("/api/sessions", headers=asking(origin, "POST"))).status == 204
        answer = await server.client.post("/api/sessions", headers=from_page(origin))
        assert answer.status == 201
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_everybodys_pages_may_watch(server):
    for path in ("/whep/none", "/hls/none/playlist.m3u8"):
        before = await server.client.options(path, headers=asking(STRANGER, "GET"))
        assert before.status == 204
        answer = await server.client.get(path, headers=from_page(STRANGER))
        for each in (before, answer):
            assert each.headers["Access-Control-Allow-Origin"] == "*"
            assert each.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_the_lipsync_socket_opens_for_the_same_pages(start):
    server = await start(allowed_origins=[FRIEND])
    async with server.client.ws_connect("/ws/lipsync", headers=from_page(FRIEND)) as socket:
        await socket.send_json({"type": "health_check", "id": 1})
        assert (await socket.receive_json())["healthy"]
    for headers in (from_page(STRANGER), {"Origin": STRANGER}, from_page(STRANGER, "same-site")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await server.client.ws_connect("/ws/lipsync", headers=headers)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Example.ORG", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("*", "*"),
    ],
)
def test_origins_are_kept_as_browsers_write_them(given, kept):
    assert Settings(allowed_origins=[given]).allowed_origins == [kept]


@pytest.mark.parametrize(
    "given", ["https://example.org/", "example.org", "https://*.example.org", "null", "https://a@b", ""]
)
def test_what_is_no_origin_is_refused_with_an_example(given):
    with pytest.raises(ValidationError, match=r"an origin is https://example\.org"):
        Settings(allowed_origins=[given])
