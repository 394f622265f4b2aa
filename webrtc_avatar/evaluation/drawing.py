"""The mouth's part of an evaluation: how well it draws mouths that it was never fitted to, and what a frame costs."""

from __future__ import annotations

from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.engine.portrait import drawer
from webrtc_avatar.evaluation import mouth
from webrtc_avatar.evaluation.gates import Gate, Result
from webrtc_avatar.training.mouth_data import FACTS_NAME, load_mouths

SOURCE_FOLDER = "source"
"""Where a package keeps the renders that its mouth was fitted to, if it brings them."""
_LARGE_PX = 720


def drawing(avatar: Avatar) -> list[Result]:
    """Return how like its renders the mouth is; what can be measured without renders comes last."""
    draw = drawer(avatar) if avatar.model.kind == "portrait" else mouth.load_mouth(avatar.model.mouth)
    results: list[Result] = []
    folder = avatar.folder / SOURCE_FOLDER
    if (folder / FACTS_NAME).exists():
        mouths = load_mouths(folder)
        like, steady, edges = mouth.likeness(draw, mouths), mouth.flicker(draw, mouths), mouth.ghosting(draw, mouths)
        speck = mouth.closed_lip_speck(draw, mouths)
        crops, sweeps = f"held-out renders ({like.count})", f"rendered sweeps ({steady.steps} steps)"
        least = Gate(least=mouth.LEAST_HELD_OUT_DB)
        both = "held-out renders and sweeps"
        results += [
            Result("mouth's box, PSNR, mean, dB", crops, like.box_mean, f"{like.box_mean:.1f}", least),
            Result("mouth's box, PSNR, worst, dB", crops, like.box_worst, f"{like.box_worst:.1f}"),
            Result("lips, PSNR, mean, dB", crops, like.lips_mean, f"{like.lips_mean:.1f}", least),
            Result("lips, PSNR, worst, dB", crops, like.lips_worst, f"{like.lips_worst:.1f}"),
            Result("change a step against the renders'", sweeps, steady.ratio, f"{steady.ratio:.2f}", Gate(most=mouth.MOST_FLICKER)),
            Result("the same, without grain", sweeps, steady.without_noise, f"{steady.without_noise:.2f}", Gate(most=mouth.MOST_FLICKER)),
            Result("edges that no render has, worst share", both, edges.ghosts_worst, f"{edges.ghosts_worst:.3f}",
                   Gate(most=mouth.MOST_GHOSTS)),
            Result("sharpness against the renders', softest", both, edges.sharpness_worst, f"{edges.sharpness_worst:.2f}",
                   Gate(least=mouth.LEAST_SHARPNESS)),
            Result("whitest spot between closed lips, levels above the render", "p b m at 0.4 to 1.2", speck, f"{speck:.0f}",
                   Gate(most=mouth.MOST_SPECK_LEVELS)),
        ]  # fmt: skip
    edge = mouth.seam(avatar, draw)
    small, large = (mouth.cost_ms(avatar, draw, frame_px=size) for size in (avatar.frame_size, _LARGE_PX))
    results += [
        Result("seam at the mouth's edge, worst frame, levels", "10 s of speech and sway", edge.worst, f"{edge.worst:.1f}",
               Gate(most=mouth.MOST_SEAM_LEVELS)),
        Result("drift of the skin's tone, worst frame, levels", "10 s of speech and sway", edge.drift, f"{edge.drift:.1f}",
               Gate(most=mouth.MOST_DRIFT_LEVELS)),
        Result("mouth and picture, a frame on one thread, ms", f"{avatar.frame_size} pixels", small, f"{small:.2f}",
               Gate(most=mouth.MOST_MS)),
        Result("the same, times as much", f"{_LARGE_PX} pixels", large / small, f"{large / small:.2f} ({large:.2f} ms)",
               Gate(most=mouth.MOST_COST_OF_720)),
    ]  # fmt: skip
    return results
