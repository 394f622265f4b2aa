"""Paints what is behind the lips: dark, teeth and tongue, as bright as the skin around the mouth."""

from __future__ import annotations

import cv2
import numpy as np

from webrtc_avatar.avatar.portrait_lips import Floats, Lips, Picture, basis, grid
from webrtc_avatar.avatar.portrait_mouth import STEP_PX, MouthArt
from webrtc_avatar.avatar.portrait_plate import Plate
from webrtc_avatar.avatar.portrait_teeth import seen_teeth

Box = tuple[int, int, int, int]

_DARK = (29.0, 26.0, 60.0)
_TEETH = (192.0, 216.0, 232.0)
_TONGUE = (92.0, 84.0, 168.0)
_SKIN_LUMA = 165.0
"""The skin's luma for which the colours above are meant."""

_LUMA = (0.114, 0.587, 0.299)
_PLAIN_SPREAD = 0.12
"""Of the skin's brightest channel, the spread between channels from which a photo counts as coloured."""

_BEARDED = 0.65
_BELOW_CHEEKS = 0.9
"""What is around a mouth is darker than cheeks: by less than `_BEARDED` where it is skin, usually by so much."""

_GAPS = (0.0, 0.17, 0.31, 0.43, 0.53)
_OVERSAMPLED = 3


def mouth_art(plate: Plate, box: Box) -> MouthArt:
    """Return what a mouth is drawn with.

    Args:
        plate: the photo made ready.
        box: left, top, right, bottom of the mouth's box in pixels of its `still`.
    """
    lips = plate.lips
    left, top, right, bottom = box
    fine = grid((2 * left, 2 * top, 2 * right, 2 * bottom), 1) / 2 - np.float32(0.25)
    _, _, depth = lips.coordinates(fine)
    above = np.rint(255 * np.clip(0.5 - depth * lips.half_px / 1.5, 0, 1)).astype(np.uint8)
    inner = _inner(lips, box)
    skin = _skin(plate.still, lips)
    place = (left + inner[0], top + inner[1], left + inner[2], top + inner[3])
    light = _light(skin)
    seen = seen_teeth(plate, place)
    teeth = light if seen is None else np.asarray(seen.colour / np.array(_TEETH), np.float32)
    layers = _layers(lips, place, light, teeth)
    colour = min(float(np.ptp(skin)) / (_PLAIN_SPREAD * max(float(skin.max()), 1.0)), 1.0)
    for layer in layers.values():
        # A photo without colours has a tongue without them.
        grey = layer[..., :3] @ np.array(_LUMA, np.float32)
        layer[..., :3] = np.rint(grey[..., None] + colour * (layer[..., :3] - grey[..., None]))
    if seen is not None:
        layers["upper_teeth"] = seen.over(layers["upper_teeth"])
    return MouthArt(
        fields=basis(lips, box, STEP_PX).astype(np.float16),
        above=above,
        inner=np.array(inner, np.int32),
        **layers,
        axis=np.array([-lips.across[1], lips.across[0], lips.half_px, 0], np.float32),
    )


def _inner(lips: Lips, box: Box) -> Box:
    left, top, right, bottom = box
    middle = lips.centre - (left, top)
    half = lips.half_px
    return (
        max(int(middle[0] - 1.25 * half), 0),
        max(int(middle[1] - 0.75 * half), 0),
        min(int(middle[0] + 1.25 * half), right - left),
        min(int(middle[1] + 1.6 * half), bottom - top),
    )


def _skin(plate: Picture, lips: Lips) -> Floats:
    """Return the usual colour of the skin around the mouth, (3,) BGR."""
    height, width = plate.shape[:2]
    u, _, depth = lips.coordinates(grid((0, 0, width, height), 1))
    skin = (np.abs(u) < 1.2) & (depth < -lips.upper - 0.05) & (depth > -lips.nose)
    skin |= (np.abs(u) < 0.9) & (depth > lips.lower + 0.1) & (depth < 0.9 * lips.chin)
    around = np.asarray(np.median(plate[skin], 0) if skin.any() else np.full(3, _SKIN_LUMA), np.float32)
    cheeks = (np.abs(u) < 1.6) & (depth < -lips.nose - 0.25) & (depth > -lips.nose - 0.9)
    above = np.asarray(np.median(plate[cheeks], 0) if cheeks.any() else around, np.float32)
    # A beard is darker than the face that it grows on, and lights no teeth.
    bearded = float(around @ np.array(_LUMA)) < _BEARDED * float(above @ np.array(_LUMA))
    return np.asarray(_BELOW_CHEEKS * above if bearded else around, np.float32)


def _light(skin: Floats) -> Floats:
    """Return by how much the skin is brighter than usual, float32 (3,) BGR, its tint half taken over."""
    luma = float(np.dot(skin, _LUMA))
    usual = np.array((128.0, 155.0, 200.0)) * luma / _SKIN_LUMA
    tint = np.sqrt(np.clip(skin / np.maximum(usual, 1), 0.5, 2.0))
    return np.asarray(np.clip(luma / _SKIN_LUMA, 0.3, 1.15) * tint, np.float32)


def _layers(lips: Lips, box: Box, light: Floats, teeth: Floats) -> dict[str, Picture]:
    left, top, right, bottom = box
    size = (right - left, bottom - top)
    points = grid((0, 0, size[0] * _OVERSAMPLED, size[1] * _OVERSAMPLED), 1)
    points = ((points + 0.5) / _OVERSAMPLED - 0.5 + (left, top)).astype(np.float32)
    u, y, _ = lips.coordinates(points)
    y = y - float(np.interp(0, lips.line[:, 0], lips.line[:, 1]))
    deep = np.exp(-((u / 0.8) ** 2) - ((y - 0.35) / 0.7) ** 2)
    sides = np.clip((np.abs(u) - 0.55) / 0.5, 0, 1)
    cavity = ((1.2 - 0.65 * deep) * (1 - 0.6 * sides))[..., None] * np.array(_DARK)
    return {
        "cavity": _picture(cavity * light, None, size),
        "upper_teeth": _teeth(u, y - 0.035, teeth, size, shade=1.08),
        "lower_teeth": _teeth(u / 0.9, 0.02 - y, teeth, size, shade=0.75),
        "tongue": _tongue(u, y + 0.04, light, size),
    }


def _teeth(u: Floats, y: Floats, light: Floats, size: tuple[int, int], *, shade: float) -> Picture:
    """Paint a row of teeth whose edge is at y = 0 and which reach to y = -0.4."""
    edge = -0.10 * u**2 / 0.4
    gaps = sum(np.exp(-(((np.abs(u) - place) / 0.016) ** 2)) for place in _GAPS)
    notch = sum(np.exp(-(((np.abs(u) - place) / 0.03) ** 2)) for place in _GAPS)
    share = (
        np.clip((edge - 0.01 * notch - y) / 0.02, 0, 1)
        * np.clip((y + 0.42) / 0.1, 0, 1)
        * np.clip((0.72 - np.abs(u)) / 0.1, 0, 1)
    )
    bright = (
        shade
        * (1 - 0.62 * np.clip(np.abs(u) / 0.72, 0, 1) ** 2)
        * (1 - 0.09 * gaps)
        * (0.86 + 0.14 * np.clip(-y / 0.12, 0, 1))
    )
    return _picture(bright[..., None] * np.array(_TEETH) * light, share, size)


def _tongue(u: Floats, y: Floats, light: Floats, size: tuple[int, int]) -> Picture:
    inside = 1 - (u / 0.6) ** 2 - ((y - 0.42) / 0.42) ** 2
    share = np.clip(inside / 0.12, 0, 1)
    bright = 0.62 + 0.3 * np.clip(inside, 0, 1) - 0.10 * np.exp(-((u / 0.05) ** 2))
    return _picture(bright[..., None] * np.array(_TONGUE) * light, share, size)


def _picture(colour: Floats, share: Floats | None, size: tuple[int, int]) -> Picture:
    parts = np.clip(colour, 0, 255).astype(np.float32)
    if share is not None:
        parts = np.dstack([parts, 255 * share.astype(np.float32)])
    return np.asarray(np.rint(cv2.resize(parts, size, interpolation=cv2.INTER_AREA)), np.uint8)
