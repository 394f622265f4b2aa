"""Aligns recorded speech with its words by pocketsphinx, once, so that evaluation needs only the times.

usage: python -m webrtc_avatar.training.align librivox|asterisk webrtc_avatar/evaluation/data/NAME.json

`librivox` is Debian's pocketsphinx-testdata: five sentences in the public domain. `asterisk` is a choice of the English
prompts of asterisk-core-sounds-en-g722, read by Allison Smith, CC-BY-SA 3.0, with the words in asterisk-core-sounds-en.
Both are for testing only. Times are good to about 20 ms.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ
from webrtc_avatar.errors import MissingProgram
from webrtc_avatar.evaluation.recordings import ASTERISK_FOLDER, LIBRIVOX_FOLDER, read_sound
from webrtc_avatar.speech.phonemes import Phoneme, Segment, viseme_segments

ASTERISK_WORDS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
PROMPTS_KEPT = 60
_SHORTEST_S, _LONGEST_S = 1.5, 9.0
_FRAMES_A_SECOND = 100
_CLOSED_SHARE = 0.6
"""Of the time that pocketsphinx gives to p, t or k between vowels, how much is before the burst."""
_STOPS = frozenset(("P", "T", "K"))


class Aligned(NamedTuple):
    """Phones in ARPABET with times, and how well they fit: mean log likelihood of a frame, higher is better."""

    phones: list[Phoneme]
    fit: float


def new_decoder() -> Any:
    """Return an aligner of English."""
    from pocketsphinx import Decoder

    return Decoder(samprate=SAMPLE_RATE_HZ, lm=None, loglevel="FATAL")


def align(samples: npt.NDArray[np.int16], text: str) -> Aligned | None:
    """Return when each phone of the text is heard; none where the words cannot be found in the sound.

    Args:
        samples: int16 (n,), mono, 16 kHz.
        text: words of the dictionary in small letters, without punctuation.
    """
    decoder = new_decoder()
    decoder.set_align_text(text)
    try:
        for phones_too in (False, True):
            if phones_too:
                decoder.set_alignment()
            decoder.start_utt()
            decoder.process_raw(samples.tobytes(), full_utt=True)
            decoder.end_utt()
    except RuntimeError:
        return None
    found = decoder.get_alignment()
    if found is None:
        return None
    phones = [phone for word in found for phone in word]
    frames = sum(phone.duration for phone in phones)
    times = [Phoneme(p.start / _FRAMES_A_SECOND, (p.start + p.duration) / _FRAMES_A_SECOND, p.name) for p in phones]
    return Aligned(times, sum(phone.score for phone in phones) / max(1, frames))


def librivox_words(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, words) of the recordings."""
    for line in (folder / "transcription").read_text().splitlines():
        found = re.fullmatch(r"<s> (.*) </s> \((.*)\)", line.strip())
        if found is None:
            raise ValueError(f"{folder / 'transcription'}: expected `<s> words </s> (name)`, got {line!r}")
        yield found[2], found[1]


def asterisk_words(path: Path = ASTERISK_WORDS) -> Iterator[tuple[str, str]]:
    """Yield (name, words) of the prompts that are words alone; each wording once."""
    if not path.exists():
        raise MissingProgram(f"The wording of the prompts ({path})", package="asterisk-core-sounds-en")
    seen = set()
    for line in gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines():
        name, _, text = line.partition(":")
        words = " ".join(re.sub(r"[.,!?;:\"]|-", " ", text).lower().split())
        if not line.startswith(";") and re.fullmatch(r"[a-z' ]+", words) and words not in seen:
            seen.add(words)
            yield name, words


def librivox(folder: Path = LIBRIVOX_FOLDER) -> dict[str, list[Segment]]:
    """Return the visemes of each recording, by name."""
    segments = {}
    for name, words in librivox_words(folder):
        aligned = align(read_sound(folder / f"{name}.wav"), words)
        if aligned is None:
            raise ValueError(f"{folder / name}.wav: its words cannot be found in the sound; is the file whole?")
        segments[name] = mouth_segments(aligned.phones)
    return segments


def asterisk(folder: Path = ASTERISK_FOLDER) -> dict[str, list[Segment]]:
    """Return the visemes of the prompts that fit their words best, by name."""
    decoder = new_decoder()
    fits: dict[str, Aligned] = {}
    for name, words in asterisk_words():
        path = folder / f"{name}.g722"
        if not path.exists() or any(decoder.lookup_word(word) is None for word in words.split()):
            continue
        samples = read_sound(path)
        aligned = align(samples, words) if _SHORTEST_S <= len(samples) / SAMPLE_RATE_HZ <= _LONGEST_S else None
        if aligned is not None and covers_sound(samples, aligned.phones):
            fits[name] = aligned
    best = sorted(fits, key=lambda name: fits[name].fit, reverse=True)[:PROMPTS_KEPT]
    return {name: mouth_segments(fits[name].phones) for name in sorted(best)}


def covers_sound(samples: npt.NDArray[np.int16], phones: list[Phoneme]) -> bool:
    """Tell whether nothing loud lies outside the phones, and no long stretch of silence within them."""
    step = SAMPLE_RATE_HZ // _FRAMES_A_SECOND
    count = len(samples) // step
    loudness = np.sqrt((samples[: count * step].reshape(count, step).astype(np.float64) ** 2).mean(1))
    loud = 20 * np.log10(loudness + 1) > 20 * np.log10(np.percentile(loudness, 95) + 1) - 22
    spoken = np.zeros(count, bool)
    vowels = np.zeros(count, bool)
    for start_s, end_s, symbol in phones:
        if symbol not in ("SIL", "+SPN+", "+NSN+"):
            first, last = (round(time_s * _FRAMES_A_SECOND) for time_s in (start_s, end_s))
            spoken[first:last] = True
            vowels[first:last] = symbol[:1] in "AEIOU"
    return bool((loud & ~spoken).sum() <= 0.04 * count and (vowels & ~loud).sum() <= 0.1 * vowels.sum())


def mouth_segments(phones: list[Phoneme]) -> list[Segment]:
    """Return visemes; p, t and k open the mouth at their burst, when the next phone begins."""
    moved: list[Phoneme] = []
    opens_s: float | None = None
    for start_s, end_s, symbol in phones:
        begins_s = start_s if opens_s is None else opens_s
        opens_s = begins_s + _CLOSED_SHARE * (end_s - begins_s) if symbol in _STOPS else None
        moved.append(Phoneme(begins_s, end_s if opens_s is None else opens_s, symbol))
    return viseme_segments(moved, "arpabet")


def write_segments(path: Path, segments: dict[str, list[Segment]]) -> None:
    """Write name -> [[start_s, end_s, viseme], ...], a recording a line."""
    lines = [
        f"  {json.dumps(name)}: {json.dumps([[round(s, 3), round(e, 3), v] for s, e, v in found])}"
        for name, found in segments.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main(arguments: list[str] | None = None) -> None:
    """Align one set and write its times."""
    parser = argparse.ArgumentParser(prog="webrtc_avatar.training.align", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", choices=("librivox", "asterisk"))
    parser.add_argument("output", type=Path)
    options = parser.parse_args(arguments)
    segments = librivox() if options.recordings == "librivox" else asterisk()
    write_segments(options.output, segments)
    print(f"{options.output}: {len(segments)} recordings")


if __name__ == "__main__":
    main()
