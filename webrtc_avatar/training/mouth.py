"""Fits an avatar's mouth: from rendered crops and their weights to `mouth.onnx`, in seconds, the same every time.

    python -m webrtc_avatar.training.mouth MOUTHS models/iris/mouth.onnx [--components 64]

MOUTHS is a folder with `mouth.json` and the crops (see `training.mouth_data`). The held-out crops and the sweeps are not
fitted, so that what is measured on them is what ships.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from webrtc_avatar.avatar.compose import bgr, i420
from webrtc_avatar.nets.kernel_mouth import KernelMouth
from webrtc_avatar.training.mouth_data import Mouths, load_mouths
from webrtc_avatar.training.mouth_export import write_onnx

Floats = npt.NDArray[np.float32]

LIPS = (slice(30, 130), slice(40, 184))
"""Rows and columns of a 160x224 crop that quality is measured over."""

_START = 0.3
_START_LOG_RIDGE = -5.0
_LEAST_SPREAD = 1e-3
_ERROR_FLOOR = 0.003
"""Share of the crops' variance below which an error is not worth lowering."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a mouth is fitted; the defaults won the comparison in docs/avatars.md.

    Attributes:
        components: principal components of the crops.
        steps: of the metric's descent.
        rate: of the first step, falling to nothing.
    """

    components: int = 64
    steps: int = 120
    rate: float = 0.04


def fit(mouths: Mouths, recipe: Recipe | None = None) -> KernelMouth:
    """Return the network that draws these mouths. Same input, same output, bit for bit, on one machine.

    Args:
        mouths: weights and crops.
        recipe: how to fit; none: the defaults.
    """
    recipe = recipe or Recipe()
    pictures = np.stack([i420(crop) for crop in mouths.crops])
    pixels = pictures.reshape(len(pictures), -1).astype(np.float32)
    mean = pixels.mean(0)
    pixels -= mean
    basis = _principal(pixels, recipe.components)
    targets = torch.from_numpy((pixels @ basis.T).astype(np.float64))

    weights = torch.from_numpy(mouths.weights.astype(np.float64))
    metric, ridge = _learned_metric(weights, targets, recipe)
    known = weights @ metric
    coefficients = torch.linalg.solve(_similarity(known) + ridge * torch.eye(len(known), dtype=torch.float64), targets)

    # Each component in 255 steps: costs 0.05 dB and halves the file against half precision.
    step = np.abs(basis).max(1) / 127
    return KernelMouth(
        {
            "metric": metric.numpy().astype(np.float32),
            "known": known.numpy().astype(np.float32),
            "coefficients": (coefficients.numpy() * step).astype(np.float32),
            "basis": np.rint(basis / step[:, None]).astype(np.int8),
            "mean": mean.reshape(pictures.shape[1:]),
        }
    )


def _learned_metric(weights: torch.Tensor, targets: torch.Tensor, recipe: Recipe) -> tuple[torch.Tensor, float]:
    """Return the metric (weights, weights) and the ridge that predict each mouth best from all others.

    Gradient descent (Adam) on the leave-one-out error, which a kernel method has in closed form: Rasmussen and Williams,
    5.4.2. The error's logarithm is averaged over mouths, so that no few far ones rule.
    """
    log_ridge = torch.tensor(_START_LOG_RIDGE, dtype=torch.float64, requires_grad=True)
    spread = weights.std(0).clamp_min(_LEAST_SPREAD)[:, None]
    scaled = torch.eye(weights.shape[1], dtype=torch.float64).mul(_START).requires_grad_()
    unity = torch.eye(len(weights), dtype=torch.float64)
    floor = _ERROR_FLOOR * targets.var(0).sum()
    optimizer = torch.optim.Adam([scaled, log_ridge])
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate * (1 - step / recipe.steps)
        inverse = torch.linalg.inv(_similarity((weights / spread.T) @ scaled) + log_ridge.exp() * unity)
        missed = (inverse @ targets) / torch.diagonal(inverse)[:, None]
        loss = torch.log((missed**2).sum(1) + floor).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return (scaled / spread).detach(), float(log_ridge.detach().exp())


def _similarity(features: torch.Tensor) -> torch.Tensor:
    """Return 1 / (1 + squared distance) of every pair of rows: (n, features) to (n, n)."""
    lengths = (features**2).sum(1)
    distance = (lengths[:, None] + lengths[None] - 2 * features @ features.T).clamp_min(0)
    return 1 / (1 + distance)


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
    """Return the peak signal-to-noise ratio over the lips of each drawn mouth, in dB.

    Both are compared as BGR out of I420, which is how a viewer sees either: halving the colours' resolution alone costs a
    render 41 dB, whatever draws it.
    """
    parts = np.array_split(mouths.weights, max(1, len(mouths.weights) // 16))
    drawn = np.concatenate([mouth(torch.from_numpy(part)).numpy() for part in parts])
    error = [
        np.mean((bgr(picture)[LIPS].astype(np.float64) - bgr(i420(crop))[LIPS]) ** 2)
        for picture, crop in zip(drawn, mouths.crops, strict=True)
    ]
    quality: npt.NDArray[np.float64] = 10 * np.log10(255**2 / np.array(error))
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
    mouth = fit(mouths.seen, recipe)
    quality = psnr(mouth, mouths.unseen)
    print(
        f"{len(mouths.seen.weights)} crops, {recipe.components} components, lips of {quality.size} held-out crops: "
        f"mean {quality.mean():.2f} dB, median {np.median(quality):.2f}, worst {quality.min():.2f}"
    )
    write_onnx(mouth, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
