"""Makes the speech that the ear learns from: synthetic voices, whose phoneme times are exact.

usage: python -m webrtc_avatar.training.speech data/speech [--seed 0] [--sources espeak hibari ...]

Writes one file a source. Every 17th sentence of a language is held out from training, whoever speaks it; `unseen` holds
voices and `language` a language that nothing is trained on. `festival_copyleft` is made only when it is asked for: its voices
are under the GPL or LGPL, and what that means for a network trained on them is for nobody here to say.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ
from webrtc_avatar.speech.phonemes import Alphabet, Phoneme, viseme_segments
from webrtc_avatar.training.espeak import speak
from webrtc_avatar.training.repair import repaired
from webrtc_avatar.training.sentences import SENTENCES
from webrtc_avatar.training.utterances import Utterance, save_utterances

ENGLISH_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-us-nyc", "en-gb-x-rp", "en-029")
VARIANTS = (
    "",
    *(f"+f{number}" for number in range(1, 6)),
    *(f"+m{number}" for number in range(1, 9)),
    *("+Alicia", "+Andrea", "+Annie", "+anika", "+belinda", "+linda", "+steph", "+Michael", "+edward", "+robert"),
    *(
        "+Diogo",
        "+Denis",
        "+Hugo",
        "+Marco",
        "+travis",
        "+zac",
        "+Lee",
        "+max",
        "+klatt",
        "+klatt2",
        "+klatt4",
        "+female3",
        "+whisper",
        "+whisperf",
    ),
)
KOKORO_VOICES = ("jf_gongitsune", "jf_nezumi", "jf_tebukuro")
KOKORO_MIXED = 0.4
"""Share of the sentences that a mixture speaks."""
UNSEEN_VOICES = ("jf_alpha", "jm_kumo")
"""Voices of kokoro that nothing is trained on, not even in a mixture."""
HELD_OUT_EVERY = 17
HELD_OUT_LANGUAGE = "tr"
"""Language of which nothing is ever trained on."""
ESPEAK_TAKES = 3

Voices = Iterator[Utterance]


def utterance(
    voice: str,
    speech: tuple[npt.NDArray[Any], int, list[Phoneme]],
    alphabet: Alphabet,
    *,
    held_out: bool,
) -> Utterance:
    """Return what a voice gave as an utterance at 16 kHz."""
    samples, rate_hz, phonemes = speech
    scale = 32768 if samples.dtype == np.int16 else 1
    resampled = soxr.resample(samples.astype(np.float32) / scale, rate_hz, SAMPLE_RATE_HZ)
    heard = resampled.astype(np.float32)
    return Utterance(voice, heard, repaired(heard, viseme_segments(phonemes, alphabet)), held_out)


def _numbered_english() -> list[tuple[str, bool]]:
    return [(text, number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) for number, text in enumerate(SENTENCES["en"])]


def espeak_speech(rng: np.random.Generator) -> Voices:
    """Yield every sentence in several takes, each with another variant, speed and pitch."""
    for language, sentences in SENTENCES.items():
        if language != HELD_OUT_LANGUAGE:
            for number, text in enumerate(sentences):
                for _ in range(ESPEAK_TAKES):
                    held_out = number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
                    yield _espeak_take(rng, language, text, held_out=held_out)


def language_speech(rng: np.random.Generator) -> Voices:
    """Yield every sentence of the language that nothing is trained on."""
    for text in SENTENCES[HELD_OUT_LANGUAGE]:
        yield _espeak_take(rng, HELD_OUT_LANGUAGE, text, held_out=True)


def _espeak_take(rng: np.random.Generator, language: str, text: str, *, held_out: bool) -> Utterance:
    accent = str(rng.choice(ENGLISH_ACCENTS)) if language == "en" else language
    voice = accent + str(rng.choice(VARIANTS))
    words_per_minute, pitch, pitch_range = (
        int(rng.integers(low, high)) for low, high in ((120, 230), (15, 90), (25, 90))
    )
    prosody = {"words_per_minute": words_per_minute, "pitch": pitch, "pitch_range": pitch_range}
    try:
        speech = speak(text, voice, **prosody)
    except ValueError:
        speech = speak(text, accent, **prosody)
    return utterance(f"espeak:{voice}", speech, "ipa", held_out=held_out)


def hibari_speech(rng: np.random.Generator) -> Voices:
    """Yield every English sentence twice at other speeds."""
    from webrtc_avatar.training.voices import HibariVoice

    voice = HibariVoice()
    for text, held_out in _numbered_english():
        for _ in range(2):
            speech = voice(text, speed=float(rng.uniform(0.8, 1.3)), seed=int(rng.integers(1 << 31)))
            yield utterance("hibari", speech, "misaki", held_out=held_out)


def piper_speech(rng: np.random.Generator) -> Voices:
    """Yield every English sentence once."""
    from webrtc_avatar.training.voices import PiperVoice

    voice = PiperVoice()
    for text, held_out in _numbered_english():
        speech = voice(text, speed=float(rng.uniform(0.85, 1.25)), noise=float(rng.uniform(0.5, 0.9)))
        yield utterance("piper:joe", speech, "ipa", held_out=held_out)


def kokoro_speech(rng: np.random.Generator) -> Voices:
    """Yield every English sentence once, by one of three voices or a mixture of them."""
    from webrtc_avatar.training.voices import KokoroVoice

    voice = KokoroVoice()
    for number, (text, held_out) in enumerate(_numbered_english()):
        shares = np.eye(len(KOKORO_VOICES))[number % len(KOKORO_VOICES)]
        if rng.random() < KOKORO_MIXED:
            shares = rng.dirichlet(np.ones(len(KOKORO_VOICES)))
        speech = voice(text, voice=dict(zip(KOKORO_VOICES, shares, strict=True)), speed=float(rng.uniform(0.8, 1.25)))
        name = KOKORO_VOICES[number % len(KOKORO_VOICES)] if shares.max() == 1 else f"mixture{number}"
        yield utterance(f"kokoro:{name}", speech, "misaki", held_out=held_out)


def flite_speech(rng: np.random.Generator) -> Voices:
    """Yield some of the English sentences by each of Flite's voices."""
    from webrtc_avatar.training.debian_voices import flite_sentences

    for spoken in flite_sentences(rng):
        yield utterance(f"flite:{spoken.voice.name}", spoken.speech, spoken.voice.phones, held_out=spoken.held_out)


def festival_speech(rng: np.random.Generator) -> Voices:
    """Yield the English and Russian sentences by Festival's voices of permissive licences."""
    from webrtc_avatar.training.debian_voices import PERMISSIVE_VOICES, festival_sentences

    for spoken in festival_sentences(rng, PERMISSIVE_VOICES):
        yield utterance(f"festival:{spoken.voice.name}", spoken.speech, spoken.voice.phones, held_out=spoken.held_out)


def festival_copyleft_speech(rng: np.random.Generator) -> Voices:
    """Yield the sentences of seven languages by Festival's voices under GPL and LGPL."""
    from webrtc_avatar.training.debian_voices import COPYLEFT_VOICES, festival_sentences

    for spoken in festival_sentences(rng, COPYLEFT_VOICES):
        yield utterance(f"festival:{spoken.voice.name}", spoken.speech, spoken.voice.phones, held_out=spoken.held_out)


def unseen_speech(rng: np.random.Generator) -> Voices:
    """Yield the held-out English sentences, and some others, by two voices of a kind that is never trained on."""
    from webrtc_avatar.training.voices import KokoroVoice

    voice = KokoroVoice()
    english = _numbered_english()
    chosen = [text for text, held_out in english if held_out] + [text for text, _ in english[:8]]
    for name in UNSEEN_VOICES:
        for text in chosen:
            speech = voice(text, voice={name: 1.0}, speed=float(rng.uniform(0.9, 1.1)))
            yield utterance(f"kokoro:{name}", speech, "misaki", held_out=True)


SOURCES: dict[str, Callable[[np.random.Generator], Voices]] = {
    "espeak": espeak_speech,
    "hibari": hibari_speech,
    "piper": piper_speech,
    "flite": flite_speech,
    "festival": festival_speech,
    "festival_copyleft": festival_copyleft_speech,
    "kokoro": kokoro_speech,
    "unseen": unseen_speech,
    "language": language_speech,
}


def main(arguments: list[str] | None = None) -> None:
    """Write the chosen sources."""
    parser = argparse.ArgumentParser(prog="webrtc_avatar.training.speech", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    usual = [name for name in SOURCES if name != "festival_copyleft"]
    parser.add_argument("--sources", nargs="*", choices=list(SOURCES), default=usual)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.sources:
        _seed_voices(options.seed)
        _write(options.folder, name, SOURCES[name](np.random.default_rng([options.seed, *name.encode()])))


def _write(folder: Path, name: str, speech: Voices) -> None:
    length_s = save_utterances(folder / f"{name}.npz", speech)
    print(f"{name}: {length_s / 60:.1f} minutes", flush=True)


def _seed_voices(seed: int) -> None:
    """Seed the noise that neural voices draw inside ONNX Runtime; it must come before their sessions are made."""
    import onnxruntime

    onnxruntime.set_seed(seed)


if __name__ == "__main__":
    main()
