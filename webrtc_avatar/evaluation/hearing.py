"""The ear's part of an evaluation: how well the mouth follows speech that the ear was never trained on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples
from webrtc_avatar.audio.mel import MEL_ROWS_BEFORE, MEL_ROWS_PER_CHUNK, SILENT_MEL, MelStream, log_mel
from webrtc_avatar.evaluation.ear import JAW, LOOKAHEADS, Ear, Floats, Tally, load_ear, measure, mouths, stream_windows
from webrtc_avatar.evaluation.gates import Gate, Result
from webrtc_avatar.training.utterances import Utterance

REAL, UNSEEN = "real speech", "unseen voices"
_CLOSED = {REAL: 0.85, UNSEEN: 0.90}
_FRAMES_RIGHT = {REAL: 0.50, UNSEEN: 0.60}
_JAW = {REAL: 0.5, UNSEEN: 0.7}
_COUNTED: tuple[tuple[str, str], ...] = (
    ("p b m closed", "lips closed on p b m"),
    ("f v lip rolled", "lower lip to teeth on f v"),
    ("o u w rounded", "rounded on o u w"),
    ("open vowels kept open", "no closure in the middle of a e o"),
    ("i kept open", "no closure in the middle of i"),
    ("e i not rounded", "not rounded on e i"),
    ("silence closed", "mouth closed in silence"),
    ("frames right", "frames with the right viseme"),
)
ROWS = (*(name for name, _ in _COUNTED), "jaw correlation", "jaw lag, ms")


def gate_of(row: str, speech: str) -> Gate | None:
    """Return what is asked of a row on a kind of speech; None where it is only told."""
    if row == "silence closed":
        return Gate(least=0.98)
    if row == "jaw lag, ms":
        return Gate(least=-20, most=40)
    if speech not in _CLOSED:
        return None
    return {
        "p b m closed": Gate(least=_CLOSED[speech]),
        "f v lip rolled": Gate(least=0.80),
        "o u w rounded": Gate(least=0.85),
        "open vowels kept open": Gate(least=0.98),
        "frames right": Gate(least=_FRAMES_RIGHT[speech]),
        "jaw correlation": Gate(least=_JAW[speech]),
    }.get(row)


def hearing(ear: Ear, sets: Mapping[str, list[Utterance]], *, lookahead: int) -> list[Result]:
    """Return every row on every set of speech, with its gates."""
    results = []
    for speech, utterances in sets.items():
        tally = measure(ear, utterances, lookahead=lookahead)
        on = f"{speech} ({len(utterances)})"
        for row, what in _COUNTED:
            if tally.tried(row):
                results.append(Result(what, on, tally.rate(row), tally.text(row), gate_of(row, speech), scale=100))
        for row, what in (
            ("jaw correlation", "jaw against the labels, r"),
            ("jaw lag, ms", "jaw behind the sound, ms"),
        ):
            if tally.tried(row):
                results.append(Result(what, on, tally.median(row), tally.text(row), gate_of(row, speech)))
    return results


def loudness(ear: Ear, utterances: list[Utterance], *, lookahead: int) -> list[Result]:
    """Return how a whisper and a shout articulate: closures, and how far the jaw moves against the ordinary voice."""
    from webrtc_avatar.training.whisper import whispered

    usual = _jaw_spread(ear, utterances, lookahead)
    results = []
    for name, changed in (
        ("whisper at -30 dB", [_whisper(entry, whispered) for entry in utterances]),
        ("shout, clipped", [_shout(entry) for entry in utterances]),
    ):
        tally = measure(ear, changed, lookahead=lookahead, gain_db=0.0)
        closed = tally.rate("p b m closed")
        results.append(
            Result("lips closed on p b m", name, closed, tally.text("p b m closed"), Gate(least=0.7), scale=100)
        )
        reach = _jaw_spread(ear, changed, lookahead, gain_db=0.0) / usual
        text = f"{reach:.2f} of the ordinary voice's"
        results.append(Result("how far the jaw moves", name, reach, text, Gate(least=0.4, most=1.6)))
    return results


def _whisper(utterance: Utterance, whispered: object) -> Utterance:
    assert callable(whispered)
    quiet: Samples = whispered(utterance.samples, np.random.default_rng(0))
    scaled = (quiet * (10 ** (-30 / 20) * 0.9 / max(1e-6, float(np.abs(quiet).max())))).astype(np.float32)
    return Utterance(utterance.voice, scaled, utterance.segments, held_out=True)


def _shout(utterance: Utterance) -> Utterance:
    return Utterance(
        utterance.voice,
        np.clip(4 * utterance.samples, -0.99, 0.99).astype(np.float32),
        utterance.segments,
        held_out=True,
    )


def _jaw_spread(ear: Ear, utterances: list[Utterance], lookahead: int, *, gain_db: float = -12.0) -> float:
    factor = np.float32(10 ** (gain_db / 20))
    return float(np.mean([mouths(ear, factor * entry.samples, lookahead)[0][:, JAW].std() for entry in utterances]))


def lookahead_table(ear: Ear, sets: Mapping[str, list[Utterance]]) -> str:
    """Return a Markdown table of what each look-ahead costs: a column a look-ahead, `real speech / unseen voices` a cell."""
    names = [name for name in (REAL, UNSEEN) if name in sets]
    tallies = [{name: measure(ear, sets[name], lookahead=chunks) for name in names} for chunks in LOOKAHEADS]
    return _compared(f"{' / '.join(names)}", [f"{n} ({40 * n} ms)" for n in LOOKAHEADS], names, tallies)


def _compared(corner: str, columns: list[str], names: list[str], tallies: list[dict[str, Tally]]) -> str:
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for row in ROWS:
        cells = [" / ".join(_cell(tally[name], row) for name in names) for tally in tallies]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(tally: Tally, row: str) -> str:
    return f"{tally.median(row):.2f}" if row.startswith("jaw") else f"{100 * tally.rate(row):.0f} %"


def gain_table(ear: Ear, sets: Mapping[str, list[Utterance]], *, lookahead: int) -> str:
    """Return a Markdown table of quiet and loud speech: a column a gain, `real speech / unseen voices` a cell."""
    names = [name for name in (REAL, UNSEEN) if name in sets]
    gains_db = (-30.0, -20.0, -12.0, 0.0)
    tallies = [
        {name: measure(ear, sets[name], lookahead=lookahead, gain_db=gain) for name in names} for gain in gains_db
    ]
    return _compared(f"{' / '.join(names)}", [f"{gain:g} dB" for gain in gains_db], names, tallies)


def noise_set(seed: int = 99) -> list[Utterance]:
    """Return sounds that are not speech, made from a seed that training does not use."""
    from webrtc_avatar.training.noises import noise_sounds

    sounds = noise_sounds(np.random.default_rng(seed))
    return [Utterance(f"noise:{name}", (0.5 * sound).clip(-1, 1), []) for name, sound in sounds.items()]


def stream_equals_whole(ear: Ear, chunks: int = 1000, seed: int = 0) -> Result:
    """Return by how much the weights of so many chunks of noise and speech-like sound differ from those of one piece."""
    rng = np.random.default_rng(seed)
    samples = np.convolve(rng.normal(0, 0.3, chunks * CHUNK_SAMPLES), [0.3, 0.4, 0.3], "same").astype(np.float32)
    samples *= np.sin(np.arange(len(samples)) / SAMPLE_RATE_HZ * 9).astype(np.float32) ** 2
    pieces = ear(stream_windows(samples))[0]
    rows = np.pad(log_mel(samples), ((MEL_ROWS_BEFORE, 0), (0, 0)), constant_values=SILENT_MEL)
    whole = np.lib.stride_tricks.sliding_window_view(rows, 64, axis=0)[::MEL_ROWS_PER_CHUNK].transpose(0, 2, 1)
    differs = float(np.abs(pieces - ear(np.ascontiguousarray(whole[:chunks]))[0]).max())
    return Result(
        "chunk by chunk against one piece, largest difference",
        f"{chunks} chunks",
        differs,
        f"{differs:.1e}",
        Gate(most=1e-4),
    )


def cost(path: Path, chunks: int = 300) -> Result:
    """Return the median time a chunk takes on one thread, spectrum and network."""
    ear, stream = load_ear(path), MelStream()
    rng = np.random.default_rng(1)
    window: Floats = np.full((1, 64, 80), SILENT_MEL, np.float32)
    took_s = []
    for _ in range(chunks):
        chunk = rng.normal(0, 0.1, CHUNK_SAMPLES).astype(np.float32)
        started_s = time.perf_counter()
        rows = stream.push(chunk)
        window = np.concatenate([window[:, len(rows) :], rows[None]], 1)
        ear(window)
        took_s.append(time.perf_counter() - started_s)
    median_ms = 1000 * float(np.median(took_s))
    return Result("ear, a chunk on one thread, ms", "this machine", median_ms, f"{median_ms:.2f}", Gate(most=0.5))
