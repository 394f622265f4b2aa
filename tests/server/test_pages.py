"""Files of the pages, and only those."""

import asyncio

import cv2
import numpy as np
import pytest


async def test_the_page_is_served_with_headers_that_keep_a_browser_careful(server):
    response = await server.client.get("/")
    assert response.status == 200
    assert response.content_type == "text/html"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Server"] == "webrtc-avatar"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "microphone=(self)" in response.headers["Permissions-Policy"]
    assert (await server.client.get("/kiosk.html")).status == 200


async def raw_get(server, path):
    """Send a path as it is, which no well-behaved client would; return status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.client.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode("latin-1")
    writer.close()
    head, body = answer.split("\r\n\r\n", 1)
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    "path",
    [
        "/../README.md",
        "/%2e%2e/pyproject.toml",
        "/js/..%2f..%2fpyproject.toml",
        "/js/../../pyproject.toml",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/js/",
        "/js",
        "/none.html",
        "/%00",
        "/index.html%00.png",
    ],
)
async def test_nothing_else_can_be_read(server, path):
    assert (await raw_get(server, "/js/page.js"))[0] == 200
    status, body = await raw_get(server, path)
    assert status in (400, 403, 404), body
    assert "build-system" not in body
    assert "root:" not in body


async def test_an_avatar_has_a_poster(server):
    response = await server.client.get("/api/avatars/iris/poster")
    assert response.content_type == "image/jpeg"
    picture = cv2.imdecode(np.frombuffer(await response.read(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (512, 512, 3)
    assert (await server.client.get("/api/avatars/nobody/poster")).status == 404


async def test_the_page_learns_what_there_is(server):
    config = await (await server.client.get("/api/config")).json()
    assert config["default_avatar"] == "iris"
    iris = {"name": "iris", "title": "Iris", "kind": "drawn", "width": 512, "height": 512, "frame_count": 0}
    assert iris in config["avatars"]
    assert config["ice_servers"] == []
