"""Synthetic speech that ears are measured with and never trained on.

Synthetic sets are kept here as FLAC with the times of their visemes beside it; recordings come from Debian's packages (see
`recordings`). To write the synthetic ones anew:

    python -m webrtc_avatar.evaluation.speech_sets data/speech
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ
from webrtc_avatar.evaluation.recordings import read_sound
from webrtc_avatar.speech.phonemes import Segment
from webrtc_avatar.training.utterances import Utterance, load_utterances

_DATA = files("webrtc_avatar.evaluation") / "data"
_PAUSE = SAMPLE_RATE_HZ // 2
SYNTHETIC = {"unseen": "unseen voices", "language": "unseen language (Turkish)"}
"""What each set is, by name: two voices of kokoro, and espeak-ng."""


def synthetic_set(name: str) -> list[Utterance]:
    """Return one of the sets kept in the package: `unseen` or `language`."""
    facts = json.loads((_DATA / f"{name}.json").read_text("utf-8"))
    with as_file(_DATA / f"{name}.flac") as path:
        sound = read_sound(path).astype(np.float32) / np.float32(32767)
    return [
        Utterance(entry["voice"], sound[entry["first"] : entry["last"]], _segments(entry["visemes"]), held_out=True)
        for entry in facts
    ]


def _segments(visemes: list[list[Any]]) -> list[Segment]:
    return [Segment(float(start_s), float(end_s), str(viseme)) for start_s, end_s, viseme in visemes]


def write_set(name: str, utterances: list[Utterance], folder: Path) -> None:
    """Write `NAME.flac` and `NAME.json` into a folder."""
    facts, parts, position = [], [], 0
    for utterance in utterances:
        samples = np.pad(utterance.samples, (0, _PAUSE))
        visemes = [[round(s.start_s, 4), round(s.end_s, 4), s.viseme] for s in utterance.segments]
        last = position + len(utterance.samples)
        facts.append({"voice": utterance.voice, "first": position, "last": last, "visemes": visemes})
        parts.append(samples)
        position += len(samples)
    _write_flac(folder / f"{name}.flac", np.concatenate(parts))
    lines = ",\n".join(json.dumps(fact, separators=(",", ":")) for fact in facts)
    (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n", "utf-8")


def _write_flac(path: Path, samples: npt.NDArray[np.float32]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE_HZ, layout="mono", options={"compression_level": "8"})
        levels = np.round(samples * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(levels, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for part in (frame, None):
            container.mux(stream.encode(part))


def main(arguments: list[str] | None = None) -> None:
    """Write the synthetic sets from the files of `webrtc_avatar.training.speech`."""
    parser = argparse.ArgumentParser(prog="webrtc_avatar.evaluation.speech_sets", description="Writes the test speech.")
    parser.add_argument("speech", type=Path, help="folder written by webrtc_avatar.training.speech")
    options = parser.parse_args(arguments)
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    for name in SYNTHETIC:
        utterances = load_utterances(options.speech / f"{name}.npz")
        write_set(name, utterances, folder)
        print(f"{name}: {len(utterances)} utterances, {sum(entry.length_s for entry in utterances) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
