"""WAV and bare PCM as they arrive, piece by piece, at the rate that is wanted."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import soxr

from webrtc_avatar.errors import VoiceServiceFailure

_LONGEST_HEADER = 64 * 1024
_PCM, _EXTENSIBLE = 1, 0xFFFE

Samples = npt.NDArray[np.float32]


class WavStream:
    """Decodes 16-bit sound; what does not begin as a WAV file is bare mono PCM at the wanted rate."""

    def __init__(self, rate_hz: int) -> None:
        """Take the rate that samples shall have."""
        self._rate_hz = rate_hz
        self._head = b""
        self._rest = b""
        self._channels = 0
        self._in_file = 0
        self._resampler: soxr.ResampleStream | None = None

    def feed(self, data: bytes) -> Samples:
        """Take bytes; return samples, float32 (n,) in -1..1.

        Raises:
            VoiceServiceFailure: a WAV file of another kind than 16-bit PCM.
        """
        if not self._channels:
            self._head += data
            begin = self._begin()
            if begin is None:
                return np.zeros(0, np.float32)
            data, self._head = self._head[begin:], b""
        self._rest += data
        whole = len(self._rest) // (2 * self._channels) * 2 * self._channels
        numbers = np.frombuffer(self._rest[:whole], "<i2")
        self._rest = self._rest[whole:]
        samples = (numbers.reshape(-1, self._channels).mean(1, dtype=np.float32) / 32_768).astype(np.float32)
        return samples if self._resampler is None else np.asarray(self._resampler.resample_chunk(samples))

    def finish(self) -> Samples:
        """Return what was held back."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        return np.asarray(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))

    def _begin(self) -> int | None:
        """Return where samples begin; None: more is needed to know."""
        head = self._head
        if len(head) < 12:
            return None
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            self._channels = 1
            return 0
        at = 12
        while len(head) >= at + 8:
            name, size = head[at : at + 4], struct.unpack_from("<I", head, at + 4)[0]
            if name == b"data":
                if not self._in_file:
                    raise VoiceServiceFailure("the speech service sent a WAV file without a format")
                self._channels = self._in_file
                return at + 8
            if len(head) < at + 8 + size:
                break
            if name == b"fmt " and size >= 16:
                self._format(head[at + 8 : at + 8 + size])
            at += 8 + size + size % 2
        if len(head) > _LONGEST_HEADER:
            raise VoiceServiceFailure("the speech service sent a WAV file without sound")
        return None

    def _format(self, chunk: bytes) -> None:
        kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
        if kind not in (_PCM, _EXTENSIBLE) or bits != 16 or channels not in (1, 2) or not 4_000 <= rate_hz <= 192_000:
            raise VoiceServiceFailure(
                f"the speech service sent WAV of kind {kind}, {channels} channels, {bits} bits, {rate_hz} Hz; expected "
                "16-bit PCM"
            )
        self._in_file = channels
        if rate_hz != self._rate_hz:
            self._resampler = soxr.ResampleStream(rate_hz, self._rate_hz, 1, dtype="float32")
