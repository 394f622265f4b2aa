"""Chooses the mouths to render: viseme corners, loud and closed mouths, tongues, slow sweeps, speech, mixes of two visemes, smiles.

    python models/iris/source/choose_mouths.py mouth.json [--count 1200]

Any prefix of the list that holds the sweeps is a fair sample. `models/iris/source/mouth.json` holds the choice that iris was made from; this
makes another one. Needs libespeak-ng1.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from webrtc_avatar.speech.phonemes import mouth_curves, viseme_segments
from webrtc_avatar.speech.visemes import VISEMES, WEIGHTS
from webrtc_avatar.training.espeak import speak
from webrtc_avatar.training.mouth_data import write_facts
from webrtc_avatar.training.sentences import SENTENCES

SEED = 20
HELD_OUT_COUNT = 100
FRAME_RATE_HZ = 25
CORNER_STRENGTHS = (1.0, 0.7, 0.4)
# By gain of the jaw; the largest is the ear's for the loudest voice.
LOUD_VISEMES = {
    1.25: ("aa", "E", "O", "U", "@", "RR", "LL", "TH", "DD", "kk", "CH", "I"),
    1.12: ("aa", "E", "O"),
}
LOUD_PAIRS = (
    *(("aa", name) for name in ("O", "U", "E", "LL", "RR", "CH", "FF", "PP", "sil", "DD", "SS")),
    *(("O", name) for name in ("E", "LL", "PP", "U", "sil")),
)
CLOSED_STRENGTHS = (0.55, 0.85, 1.2)
CLOSED_SHARES = (0.95, 0.85, 0.75, 0.6)
LIP_TO_TEETH_SHARES = (0.8, 0.6)
TONGUE_SHARES = (0.75, 0.5)
FURTHER_STRENGTHS = (0.55, 0.85, 1.15)
SWEEPS = (("sil", "aa", "O", "PP"), ("FF", "I", "LL", "U"))
SWEEP_STEPS = 8
# Weights matter unequally in the picture: a tenth of jaw shows more than a tenth of upper lip.
WEIGHT_SCALE = np.array([2.0, 1, 1, 0.8, 1, 1, 1.2, 1.2, 0.9, 0.9, 0.5, 1.0], np.float32)


def corner_states() -> list[tuple[str, np.ndarray]]:
    """Each viseme at three strengths; the silent corner, which has none, gives rest, parted lips and a light press."""
    states = []
    for strength in CORNER_STRENGTHS:
        for name, vector in VISEMES.items():
            if name == "sil":
                states.append(("corner", {1.0: vector, 0.7: VISEMES["aa"] * 0.12, 0.4: VISEMES["PP"] * 0.4}[strength]))
            else:
                states.append(("corner", vector * strength))
    return states


def loud_states() -> list[tuple[str, np.ndarray]]:
    """Return mouths as a loud voice opens them: visemes and even mixes of two, with more jaw."""
    states = []
    for gain, names in LOUD_VISEMES.items():
        states += [("loud", _with_jaw(VISEMES[name], gain)) for name in names]
    for first, second in LOUD_PAIRS:
        states.append(("loud", _with_jaw((VISEMES[first] + VISEMES[second]) / 2, max(LOUD_VISEMES))))
    return states


def closed_states() -> list[tuple[str, np.ndarray]]:
    """Return closed lips that open a little towards other visemes, and lower lips at the teeth that do."""
    states = [VISEMES["PP"] * strength for strength in CLOSED_STRENGTHS]
    states += [
        _mixed("PP", name, share) for share in CLOSED_SHARES for name in ("aa", "O", "I", "E", "SS", "RR", "U", "@")
    ]
    states += [VISEMES["FF"] * strength for strength in FURTHER_STRENGTHS]
    states += [_mixed("FF", name, share) for share in LIP_TO_TEETH_SHARES for name in ("aa", "I", "O", "E", "U", "@")]
    return [("closed", vector) for vector in states]


def tongue_states() -> list[tuple[str, np.ndarray]]:
    """Return l, d and th at further strengths and on their way to vowels."""
    tongues = ("LL", "DD", "TH")
    states = [VISEMES[name] * strength for name in tongues for strength in FURTHER_STRENGTHS]
    states += [
        _mixed(tongue, vowel, share)
        for share in TONGUE_SHARES
        for tongue in tongues
        for vowel in ("aa", "E", "I", "O", "U", "@")
    ]
    return [("tongue", vector) for vector in states]


def sweep_states() -> list[tuple[str, np.ndarray]]:
    """Return the frames of slow sweeps through visemes, in order. They measure flicker and are not fitted."""
    states = []
    for names in SWEEPS:
        for first, second in itertools.pairwise(names):
            states += [_mixed(second, first, step / SWEEP_STEPS) for step in range(SWEEP_STEPS)]
        states.append(VISEMES[names[-1]])
    return [("sweep", vector) for vector in states]


def _mixed(first: str, second: str, share: float) -> np.ndarray:
    return VISEMES[first] * share + VISEMES[second] * (1 - share)


def _with_jaw(weights: np.ndarray, gain: float) -> np.ndarray:
    opened = weights.copy()
    opened[WEIGHTS.index("jawOpen")] *= gain
    return opened


def speech_frames(rng: np.random.Generator) -> np.ndarray:
    """Mouth weights of all sentences at 25 fps, with random rate and articulation strength."""
    frames = []
    for voice, sentences in SENTENCES.items():
        for sentence in sentences:
            rate = int(rng.integers(130, 220))
            samples, rate_hz, phonemes = speak(sentence, voice, words_per_minute=rate)
            frame_count = int(len(samples) / rate_hz * FRAME_RATE_HZ)
            weights = mouth_curves(viseme_segments(phonemes), frame_count, FRAME_RATE_HZ)
            frames.append(weights * rng.uniform(0.65, 1.1))
    return np.concatenate(frames)


def medoids(points: np.ndarray, count: int, rng: np.random.Generator, *, rounds: int = 12) -> np.ndarray:
    """Indices of the points nearest to k-means centres (dense where speech is dense)."""
    centres = points[rng.choice(len(points), count, replace=False)]
    for _ in range(rounds):
        nearest = _squared_distances(points, centres).argmin(1)
        for k in range(count):
            members = points[nearest == k]
            if len(members):
                centres[k] = members.mean(0)
    return np.unique(_squared_distances(points, centres).argmin(0))


def farthest_points(points: np.ndarray, count: int, start: np.ndarray) -> list[int]:
    """Indices of the points that, one by one, lie farthest from all chosen before (even coverage of the edges)."""
    distance = _squared_distances(points, points[start]).min(1)
    chosen = []
    for _ in range(count):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(1))
    return chosen


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None]


def choose(count: int) -> dict:
    """Return the content of `mouth.json` for so many mouths."""
    rng = np.random.default_rng(SEED)
    corners = corner_states() + loud_states() + closed_states() + tongue_states() + sweep_states()
    rest_count = count - len(corners)
    speech_count, mix_count = round(rest_count * 0.6), round(rest_count * 0.3)
    smile_count = rest_count - speech_count - mix_count

    frames = speech_frames(rng)
    scaled = frames * WEIGHT_SCALE
    dense = medoids(scaled, speech_count * 3 // 5, rng)
    edges = farthest_points(scaled, speech_count - len(dense), dense)
    states = [("speech", frames[i]) for i in (*dense, *edges)]

    vectors = np.stack(list(VISEMES.values()))

    def pair_mix() -> np.ndarray:
        first, second = rng.choice(len(vectors), 2, replace=False)
        share = rng.random()
        return (vectors[first] * share + vectors[second] * (1 - share)) * rng.uniform(0.5, 1.12)

    states += [("mix", pair_mix()) for _ in range(mix_count)]
    smile = WEIGHTS.index("smile")
    for _ in range(smile_count):
        weights = (frames[rng.integers(len(frames))] if rng.random() < 0.6 else pair_mix()).copy()
        weights[smile] += rng.uniform(-0.5, 0.5)
        states.append(("smile", weights))

    states = corners + [states[i] for i in rng.permutation(len(states))]
    held_out = np.sort(
        rng.choice(np.arange(len(corners), min(count, len(corners) + 450)), HELD_OUT_COUNT, replace=False)
    )
    crops = [
        {"file": f"{index:04d}.png", "kind": kind, "weights": [round(float(value), 4) for value in vector]}
        for index, (kind, vector) in enumerate(states)
    ]
    return {"weights": list(WEIGHTS), "held_out": [crops[index]["file"] for index in held_out], "crops": crops}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--count", type=int, default=1200)
    arguments = parser.parse_args()
    chosen = choose(arguments.count)
    write_facts(chosen, arguments.output)
    kinds = [crop["kind"] for crop in chosen["crops"]]
    print({kind: kinds.count(kind) for kind in dict.fromkeys(kinds)})


if __name__ == "__main__":
    main()
