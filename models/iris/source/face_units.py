"""How the 12 mouth weights drive the face units of the rendered head, and the face at rest."""

from webrtc_avatar.speech.visemes import WEIGHTS

# Face units (ARKit names, plus this head's own lip and tongue targets) that one weight drives, with a gain.
UNITS_OF_WEIGHT = {
    "jawOpen": {"jawOpen": 1.0},
    "pucker": {"mouthPucker": 1.0},
    "funnel": {"mouthFunnel": 1.0},
    "round": {"lipRoundLower": 1.0, "lipRoundUpper": 0.6},
    "stretch": {"mouthStretchLeft": 1.0, "mouthStretchRight": 1.0},
    "smile": {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6},
    "press": {"mouthPressLeft": 0.5, "mouthPressRight": 0.5},
    "rollLower": {"mouthRollLower": 1.0},
    "upperUp": {"mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0},
    "lowerDown": {"mouthLowerDownLeft": 1.0, "mouthLowerDownRight": 1.0},
    "tongueUp": {"tongueUp": 1.0},
    "tongueOut": {"tongueOut": 1.0},
}

RESTING_SMILE = 0.46

# The face at rest: a faint smile, soft eyes, inner brows slightly raised.
REST_UNITS = {
    "mouthSmileLeft": RESTING_SMILE,
    "mouthSmileRight": RESTING_SMILE,
    "mouthDimpleLeft": 0.15,
    "mouthDimpleRight": 0.15,
    "cheekSquintLeft": 0.22,
    "cheekSquintRight": 0.22,
    "eyeWideLeft": 0.20,
    "eyeWideRight": 0.20,
    "browInnerUp": 0.12,
}


def mouth_units(weights) -> dict[str, float]:
    """Return the face units of a mouth: 12 weights in the order of `WEIGHTS`, each about 0..1 (smile -0.6..0.6).

    The resting smile gives way to rounded lips, and f needs the middle of the upper lip raised with the rolled lower lip.
    """
    w = dict(zip(WEIGHTS, (float(value) for value in weights), strict=True))
    units = {"mouthDimpleLeft": REST_UNITS["mouthDimpleLeft"], "mouthDimpleRight": REST_UNITS["mouthDimpleRight"]}
    rounded = min(1.0, w["pucker"] + w["funnel"] + w["round"])
    for side in ("mouthSmileLeft", "mouthSmileRight"):
        units[side] = RESTING_SMILE * (1.0 - rounded)
    for side in ("mouthDimpleLeft", "mouthDimpleRight"):
        units[side] *= 1.0 - rounded
    for name, value in w.items():
        for unit, gain in UNITS_OF_WEIGHT[name].items():
            units[unit] = units.get(unit, 0.0) + gain * value
    units["lipUpMid"] = 0.45 * max(0.0, w["rollLower"]) * max(0.0, w["upperUp"])
    return units
