"""The peers of a bench, in a process of their own: `python -m webrtc_avatar.client.bench_peers '{"url": ...}'`.

Writes one JSON object a line to standard output: `{"event": "measuring"}` when all peers are connected and settled,
`{"event": "measured", "cpu_s": ...}` with the peers' CPU time when the time is over,
`{"event": "done", "reports": [...]}` at the end, `{"event": "failed", "message": ...}` instead of either.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from webrtc_avatar.client.peer import GAP_S, LEAD_IN_S, Peer
from webrtc_avatar.client.speech_track import load_speech
from webrtc_avatar.errors import PeerFailure

_BETWEEN_JOINS_S = 0.23
_SETTLE_S = 1.5


@dataclass(frozen=True)
class PeersJob:
    """What the peers have to do.

    Attributes:
        url: the server.
        audio: path of the sound file.
        sessions: how many peers.
        seconds: how long to measure once all are connected.
        loss_percent: of the datagrams, dropped by each peer in both directions.
        record: MP4 of the first peer, or "".
    """

    url: str
    audio: str
    sessions: int
    seconds: float
    loss_percent: float = 0.0
    record: str = ""

    def as_argument(self) -> str:
        """Return it as a command line argument."""
        return json.dumps(asdict(self))


async def run_peers(job: PeersJob) -> None:
    """Run the job; the first peer looks and listens, the others only count frames."""
    speech = load_speech(Path(job.audio), lead_in_s=LEAD_IN_S, gap_s=GAP_S)
    peers = [
        Peer(
            job.url,
            audio=speech,
            decode=number == 0,
            record=Path(job.record) if job.record and number == 0 else None,
            loss_percent=job.loss_percent,
            seed=number,
        )
        for number in range(job.sessions)
    ]
    try:
        for peer in peers:
            await peer.start()
            await peer.run(_BETWEEN_JOINS_S)
        await peers[0].run(_SETTLE_S)
        since_s, cpu_s = time.monotonic(), time.process_time()
        _say({"event": "measuring"})
        await asyncio.gather(*(peer.run(job.seconds) for peer in peers))
        _say({"event": "measured", "cpu_s": time.process_time() - cpu_s})
        reports = [peer.report(since_s=since_s).as_dict() for peer in peers]
    finally:
        await asyncio.gather(*(peer.aclose() for peer in peers))
    _say({"event": "done", "reports": reports})


def _say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


def main() -> int:
    """Run the job of the first argument; 0 if all peers lasted."""
    try:
        asyncio.run(run_peers(PeersJob(**json.loads(sys.argv[1]))))
    except PeerFailure as error:
        _say({"event": "failed", "message": error.message})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
