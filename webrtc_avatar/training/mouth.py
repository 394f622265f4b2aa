"""Fits an avatar's mouth: from rendered crops and their weights to `mouth.onnx`, in seconds, the same every time.

    python -m webrtc_avatar.training.mouth MOUTHS models/iris/mouth.onnx [--components 48]

MOUTHS is a folder with `mouth.json` and the crops (see `training.mouth_data`). The network is fitted twice: without the
held-out crops, to print how well it draws mouths that it has never seen, and with all crops, to be written.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from webrtc_avatar.nets.kernel_mouth import KernelMouth
from webrtc_avatar.training.mouth_data import Mouths, load_mouths
from webrtc_avatar.training.mouth_export import write_onnx

Floats = npt.NDArray[np.float32]

LIPS = (slice(30, 130), slice(40, 184))
"""Rows and columns of a 160x224 crop in which errors count most."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a mouth is fitted; the defaults won the comparison in docs/avatars.md.

    Attributes:
        components: principal components of the crops.
        sharpness: of the kernel, on weights divided by their spread: exp(-sharpness * distance^2).
        ridge: how much noise a crop is taken to have, in units of the kernel.
        closure_ridge: the same for the mouths that must be exact: closed and at rest.
        lips: how much more a pixel of the lips counts in the choice of components.
    """

    components: int = 48
    sharpness: float = 0.05
    ridge: float = 1e-2
    closure_ridge: float = 1e-4
    lips: float = 4.0


def fit(mouths: Mouths, recipe: Recipe = Recipe()) -> KernelMouth:
    """Return the network that draws these mouths. Same input, same output, bit for bit, on one machine.

    Args:
        mouths: weights and crops.
        recipe: how to fit.
    """
    weights = mouths.weights.astype(np.float64)
    scale = np.sqrt(recipe.sharpness) / weights.std(0)
    known = weights * scale

    pixels = mouths.crops.reshape(len(weights), -1).astype(np.float32)
    mean = pixels.mean(0)
    importance = np.sqrt(_importance(mouths.crops.shape[1:], recipe.lips)).ravel()
    pixels -= mean
    pixels *= importance
    basis = _principal(pixels, recipe.components)
    targets = (pixels @ basis.T).astype(np.float64)

    noise = np.where(is_closed(mouths.weights), recipe.closure_ridge, recipe.ridge)
    coefficients = np.linalg.solve(similarity(known, known) + np.diag(noise), targets)

    # Components as grey levels of one spread each: half precision then errs by the same share everywhere.
    spread = targets.std(0)
    return KernelMouth(
        {
            "scale": scale.astype(np.float32),
            "known": known.astype(np.float32),
            "coefficients": (coefficients / spread).astype(np.float32),
            "basis": (basis / importance * spread[:, None]).astype(np.float16),
            "mean": mean.reshape(mouths.crops.shape[1:]),
        }
    )


def similarity(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return exp(-squared distance) of every pair of rows: (n, weights) and (m, weights) to (n, m)."""
    kernel: npt.NDArray[np.float64] = np.exp(-((first[:, None] - second[None]) ** 2).sum(-1))
    return kernel


def is_closed(weights: Floats) -> npt.NDArray[np.bool_]:
    """Return which rows of weights (n, 12) show closed lips: pressed, rolled in or at rest, without any jaw."""
    opening = np.abs(weights[:, OPENING]).max(1)
    closed: npt.NDArray[np.bool_] = opening < 0.02
    return closed


OPENING = [0, 2, 3, 4, 8, 9, 10, 11]
"""Columns of the weights that part the lips: jaw, funnel, round, stretch, upper lip, lower lip, tongue."""


def _importance(shape: tuple[int, ...], lips: float) -> Floats:
    importance = np.ones(shape, np.float32)
    importance[LIPS] = lips
    return importance


def _principal(pixels: Floats, components: int) -> Floats:
    """Return the first principal components of centred rows (n, pixels): (components, pixels), orthonormal."""
    values, vectors = np.linalg.eigh((pixels @ pixels.T).astype(np.float64))
    strongest = np.argsort(values)[::-1][:components]
    basis = (vectors[:, strongest].T.astype(np.float32) @ pixels) / np.sqrt(values[strongest, None]).astype(np.float32)
    # An eigenvector's sign is arbitrary.
    signs = np.sign(basis[np.arange(components), np.abs(basis).argmax(1)])
    result: Floats = basis * signs[:, None]
    return result


@torch.inference_mode()
def psnr(mouth: KernelMouth, mouths: Mouths) -> npt.NDArray[np.float64]:
    """Return the peak signal-to-noise ratio over the lips of each drawn mouth, in dB."""
    drawn = np.concatenate([mouth(torch.from_numpy(part)).numpy() for part in np.array_split(mouths.weights, 16)])
    error = (drawn[:, *LIPS].astype(np.float64) - mouths.crops[:, *LIPS]) ** 2
    quality: npt.NDArray[np.float64] = 10 * np.log10(255**2 / error.mean((1, 2, 3)))
    return quality


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mouths", type=Path, help="folder with mouth.json and the crops")
    parser.add_argument("output", type=Path, help="the ONNX file to write")
    parser.add_argument("--components", type=int, default=Recipe().components)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe(components=arguments.components)
    mouths = load_mouths(arguments.mouths)
    seen, unseen = mouths.take(~mouths.held_out), mouths.take(mouths.held_out)
    quality = psnr(fit(seen, recipe), unseen)
    print(
        f"{len(seen.weights)} crops, {recipe.components} components, lips of {len(unseen.weights)} held-out crops: ",
        end="",
    )
    print(f"mean {quality.mean():.2f} dB, median {np.median(quality):.2f}, worst {quality.min():.2f}")
    write_onnx(fit(mouths, recipe), arguments.output)
    print(
        f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB, fitted to all {len(mouths.weights)} crops"
    )


if __name__ == "__main__":
    main()
