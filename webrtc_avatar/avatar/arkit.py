"""The face as ARKit's 52 blendshapes, for clients that draw a head of their own.

Left and right are the person's, as ARKit's are: her left eye is on the right of the picture, which shows her as one who stands
before her sees her. All zero is the face at rest, whatever a client's own head looks like then. Shapes that neither the mouth
weights nor the pose move (cheeks, nose, jaw sideways, ...) stay 0.

Gains are those with which the avatar "iris" was rendered (`models/iris/source/face_units.py`, `render_plates.py`), so that a head
with these shapes does what the picture does, but for what ARKit has no shape for:

- `round` turns the rims of the lips outwards; the nearest is `mouthFunnel`.
- The upper lip's middle, which rises towards the teeth for f and v, becomes `mouthShrugUpper`.
- A tongue's tip that rises (d, l) shows as a little of `tongueOut`.
- A jaw that is open behind pressed lips gets `mouthClose`, which ARKit defines against `jawOpen`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.idle import Look, Pose

ARKIT_NAMES = (
    *("eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft"),
    *("eyeSquintLeft", "eyeWideLeft"),
    *("eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight"),
    *("eyeSquintRight", "eyeWideRight"),
    *("jawForward", "jawLeft", "jawRight", "jawOpen"),
    *("mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight"),
    *("mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthUpperUpLeft", "mouthUpperUpRight"),
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight"),
    "tongueOut",
)
"""The names of Apple's `ARFaceAnchor.BlendShapeLocation`, in the order of Unreal's `EARFaceBlendShape` and of Live Link."""

MOUTH_WEIGHTS = (
    *("jawOpen", "pucker", "funnel", "round", "stretch", "smile"),
    *("press", "rollLower", "upperUp", "lowerDown", "tongueUp", "tongueOut"),
)
"""The mouth weights that can be told as blendshapes, in the order in which `blendshapes` takes them."""

Values = npt.NDArray[np.float32]

_PRESSED = 0.5
"""The weight `press` at which lips are shut: that of the viseme PP."""

_GAZE = 0.35
"""How far the eyes of a gaze of 1 turn: 10 of the 28 degrees that a whole `eyeLook` is on the rendered head."""

_MOUTH: dict[str, dict[str, float]] = {
    "jawOpen": {"jawOpen": 1.0},
    "pucker": {"mouthPucker": 1.0},
    "funnel": {"mouthFunnel": 1.0},
    "round": {"mouthFunnel": 0.4},
    "stretch": {"mouthStretchLeft": 1.0, "mouthStretchRight": 1.0},
    "press": {"mouthPressLeft": 1.0, "mouthPressRight": 1.0},
    "rollLower": {"mouthRollLower": 1.0},
    "upperUp": {"mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0},
    "lowerDown": {"mouthLowerDownLeft": 1.0, "mouthLowerDownRight": 1.0},
    "tongueUp": {"tongueOut": 0.15},
    "tongueOut": {"tongueOut": 1.0},
}
_SMILE = 0.6
_RESTING_SMILE = 0.18
"""`mouthSmile` of the warmest smile at rest, which is rendered with a weight `smile` of 0.3."""

_UPPER_MIDDLE = 0.45

_PLACE = {name: place for place, name in enumerate(ARKIT_NAMES)}


def _gains() -> Values:
    gains = np.zeros((len(MOUTH_WEIGHTS), len(ARKIT_NAMES)), np.float32)
    for weight, shapes in _MOUTH.items():
        for shape, gain in shapes.items():
            gains[MOUTH_WEIGHTS.index(weight), _PLACE[shape]] = gain
    return gains


_GAINS = _gains()


def weight_order(names: Sequence[str]) -> npt.NDArray[np.intp] | None:
    """Return where each of `MOUTH_WEIGHTS` is among a model's own names, (12,); None if the model yields other weights."""
    if set(names) != set(MOUTH_WEIGHTS) or len(names) != len(MOUTH_WEIGHTS):
        return None
    return np.array([list(names).index(name) for name in MOUTH_WEIGHTS], np.intp)


def blendshapes(weights: npt.NDArray[np.float32] | None, pose: Pose) -> Values:
    """Return a face as ARKit's blendshapes.

    Args:
        weights: float32 (12,), the mouth in the order of `MOUTH_WEIGHTS`, each about 0..1 (smile -0.6..0.6); None for the
            mouth at rest.
        pose: what head and eyes do, and how the mouth smiles at rest. The head's rotation is no blendshape: see
            `head_degrees`.

    Returns:
        float32 (52,) in the order of `ARKIT_NAMES`, each 0..1.
    """
    values = np.zeros(len(ARKIT_NAMES), np.float32)
    smile = _RESTING_SMILE * pose.smile
    if weights is not None:
        values += np.maximum(weights, 0) @ _GAINS
        mouth = dict(zip(MOUTH_WEIGHTS, (float(weight) for weight in weights), strict=True))
        _shape_lips(values, mouth)
        smile += _SMILE * mouth["smile"]
    _both(values, "mouthSmile" if smile > 0 else "mouthFrown", abs(smile))
    _look(values, pose.look)
    return np.abs(np.clip(values, 0, 1))  # no minus zeros, which would be written out


def head_degrees(pose: Pose) -> Values:
    """Return the head's rotation, float32 (3,): pitch (down), yaw and roll (to the right of the picture) in degrees."""
    return np.array([pose.pitch, pose.yaw, pose.roll], np.float32)


def _shape_lips(values: Values, mouth: dict[str, float]) -> None:
    """Add what is no plain sum of weights."""
    raised = max(mouth["rollLower"], 0) * max(mouth["upperUp"], 0)
    values[_PLACE["mouthShrugUpper"]] += _UPPER_MIDDLE * raised
    shut = min(max(mouth["press"], 0) / _PRESSED, 1)
    values[_PLACE["mouthClose"]] = shut * values[_PLACE["jawOpen"]]


def _look(values: Values, look: Look) -> None:
    x, y = (
        _GAZE * (before + (after - before) * look.arrived)
        for before, after in zip(look.came_from, look.gaze, strict=True)
    )
    _both(values, "eyeBlink", look.lid)
    _both(values, "eyeSquint", look.squint)
    _both(values, "eyeLookUp", y)
    _both(values, "eyeLookDown", -y)
    # The right of the picture is her left: there her left eye turns outwards and her right eye towards the nose.
    values[_PLACE["eyeLookOutLeft"]] = values[_PLACE["eyeLookInRight"]] = x
    values[_PLACE["eyeLookInLeft"]] = values[_PLACE["eyeLookOutRight"]] = -x
    values[_PLACE["browInnerUp"]] = 0.6 * look.brow_raise
    _both(values, "browOuterUp", 0.55 * look.brow_raise)


def _both(values: Values, shape: str, amount: float) -> None:
    values[_PLACE[f"{shape}Left"]] = values[_PLACE[f"{shape}Right"]] = amount
