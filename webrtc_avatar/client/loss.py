"""Packets lost on purpose, in a peer's own transport, both ways: no privileges and no network tools needed."""

from __future__ import annotations

import random
from typing import Any

from aiortc import RTCPeerConnection


class PacketLoss:
    """Drops a share of a connection's datagrams (media, RTCP, data channel) in both directions, the same with each seed.

    Args:
        percent: 0..100, of the datagrams of each direction.
        seed: of the random numbers.
    """

    def __init__(self, percent: float, *, seed: int) -> None:
        self._share = percent / 100
        self._random = random.Random(seed)
        self.dropped = 0
        self.passed = 0

    def attach(self, connection: RTCPeerConnection) -> None:
        """Drop from now on. The connection is up: its handshake is not the subject."""
        for ice in {id(t): t for t in _transports(connection)}.values():
            self._wrap(ice)

    def _lose(self) -> bool:
        lost = self._random.random() < self._share
        self.dropped += lost
        self.passed += not lost
        return lost

    def _wrap(self, ice: Any) -> None:
        send, receive = ice._send, ice._recv

        async def lossy_send(data: bytes) -> None:
            if not self._lose():
                await send(data)

        async def lossy_receive() -> bytes:
            while True:
                data: bytes = await receive()
                if not self._lose():
                    return data

        ice._send, ice._recv = lossy_send, lossy_receive


def _transports(connection: RTCPeerConnection) -> list[Any]:
    return [transceiver.receiver.transport.transport for transceiver in connection.getTransceivers()]
