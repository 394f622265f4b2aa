"""The HTTP side of a peer: offer, WHEP, and the end of a session, with every failure in plain words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urljoin

import aiohttp

from webrtc_avatar.client.failures import OfferRefused, ServerUnreachable

_TIMEOUT = aiohttp.ClientTimeout(total=15)


@dataclass(frozen=True)
class Answer:
    """What the server answered.

    Attributes:
        sdp: the answer's SDP.
        session_id: the session, as the server names it.
        resource: the URL whose DELETE ends what the offer began.
    """

    sdp: str
    session_id: str
    resource: str


class Signalling:
    """Talks to one server.

    Args:
        url: where the server listens, such as `http://127.0.0.1:8080`.
    """

    def __init__(self, url: str) -> None:
        self._url = (url if "://" in url else f"http://{url}").rstrip("/") + "/"
        self._http: aiohttp.ClientSession | None = None

    async def offer(self, sdp: str, *, avatar: str | None) -> Answer:
        """Open a session.

        Raises:
            ServerUnreachable: nothing answers, or what answers is no avatar server.
            OfferRefused: the server is full, has no such avatar, cannot serve the offer.
        """
        body = {"sdp": sdp, "type": "offer"} | ({"avatar": avatar} if avatar else {})
        status, headers, text = await self._request("POST", "offer", json=body)
        if status != HTTPStatus.OK:
            raise _refused(status, headers, text, self._url)
        try:
            answer = json.loads(text)
            session_id = str(answer["session_id"])
            return Answer(str(answer["sdp"]), session_id, f"{self._url}api/sessions/{session_id}")
        except (ValueError, KeyError, TypeError) as error:
            raise ServerUnreachable(f"{self._url}offer answers, but not as an avatar server; check the URL") from error

    async def watch(self, sdp: str, session_id: str) -> Answer:
        """Watch a session (WHEP).

        Raises:
            ServerUnreachable: nothing answers.
            OfferRefused: there is no such session, or it has viewers enough.
        """
        status, headers, text = await self._request(
            "POST", f"whep/{session_id}", data=sdp, headers={"Content-Type": "application/sdp"}
        )
        if status != HTTPStatus.CREATED:
            raise _refused(status, headers, text, self._url)
        return Answer(text, session_id, urljoin(self._url, headers.get("Location", f"whep/{session_id}")))

    async def end(self, resource: str) -> None:
        """End what an offer began; a server that is gone already is no failure."""
        try:
            await self._request("DELETE", resource)
        except ServerUnreachable:
            return

    async def aclose(self) -> None:
        """Close the HTTP connections; twice is fine."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], str]:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            async with self._http.request(
                method, urljoin(self._url, path), json=json, data=data, headers=headers
            ) as reply:
                return reply.status, {name.title(): value for name, value in reply.headers.items()}, await reply.text()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ServerUnreachable(
                f"no server answers at {self._url} ({error or type(error).__name__}); "
                "start one with `webrtc-avatar serve`, or check the URL"
            ) from error


def _refused(status: int, headers: dict[str, str], text: str, url: str) -> OfferRefused:
    try:
        error = json.loads(text)["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "", text.strip()[:200] or HTTPStatus(status).phrase
    retry_after_s = None
    hint = ""
    if "Retry-After" in headers:
        try:
            retry_after_s = float(headers["Retry-After"])
            hint = f"; try again in {retry_after_s:.0f} s"
        except ValueError:
            hint = ""
    return OfferRefused(
        f"the server at {url} refused with {status}: {message}{hint}",
        http_status=status,
        refusal=code,
        retry_after_s=retry_after_s,
    )
