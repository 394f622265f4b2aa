"""Chooses mouths that a fitted network knows least about, to be rendered next.

    python models/iris/source/choose_gaps.py models/iris/mouth.onnx gaps.json [--count 140]

Candidates are mixes of two and three visemes, some with a loud voice's jaw. One after another that one is taken whose
picture is the least certain given all mouths that the network was fitted to and those taken before: the variance of a
Gaussian process with the network's own kernel and metric. Render them with `render_mouths.py --mouths gaps.json`.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from webrtc_avatar.speech.visemes import VISEME_VECTORS, WEIGHTS
from webrtc_avatar.training.mouth_data import write_facts

SEED = 4
SHARES = (0.2, 0.4, 0.6, 0.8)
STRENGTHS = (1.0, 0.75)
LOUD, LOUD_FROM_JAW = 1.2, 0.25
TRIPLES = 300
RIDGE = 1e-3
FIRST_NUMBER = 1500


def candidates() -> np.ndarray:
    """Return mixes of visemes: (n, 12)."""
    jaw = WEIGHTS.index("jawOpen")
    mixes = []
    for first, second in itertools.combinations(VISEME_VECTORS, 2):
        for share in SHARES:
            mixed = first * share + second * (1 - share)
            mixes += [mixed * strength for strength in STRENGTHS]
            if mixed[jaw] > LOUD_FROM_JAW:
                loud = mixed.copy()
                loud[jaw] *= LOUD
                mixes.append(loud)
    rng = np.random.default_rng(SEED)
    for _ in range(TRIPLES):
        chosen = rng.choice(len(VISEME_VECTORS), 3, replace=False)
        mixes.append(rng.dirichlet([1, 1, 1]) @ VISEME_VECTORS[chosen])
    return np.array(mixes, np.float64)


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + squared distance) of every pair of rows."""
    return 1 / (1 + ((first[:, None] - second[None]) ** 2).sum(-1))


def choose(network: Path, count: int) -> list[np.ndarray]:
    """Return the weights of so many mouths, the least certain first."""
    state = {array.name: numpy_helper.to_array(array) for array in onnx.load(network).graph.initializer}
    mixes = candidates()
    known, features = state["known"].astype(np.float64), mixes @ state["metric"].astype(np.float64)
    lower = np.linalg.cholesky(similarity(known, known) + RIDGE * np.eye(len(known)))
    explained = np.linalg.solve(lower, similarity(known, features))
    left = similarity(features, features) - explained.T @ explained
    chosen = []
    for _ in range(count):
        index = int(np.diag(left).argmax())
        chosen.append(mixes[index])
        column = left[:, index] / np.sqrt(left[index, index] + RIDGE)
        left = left - np.outer(column, column)
    return chosen


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--count", type=int, default=140)
    arguments = parser.parse_args()
    crops = [
        {"file": f"{FIRST_NUMBER + number}.png", "kind": "gap", "weights": [round(float(value), 4) for value in mouth]}
        for number, mouth in enumerate(choose(arguments.network, arguments.count))
    ]
    write_facts({"weights": list(WEIGHTS), "held_out": [], "crops": crops}, arguments.output)


if __name__ == "__main__":
    main()
