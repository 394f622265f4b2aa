"""Finds a watermark in what came out at the other end."""

import cv2
import numpy as np

from webrtc_avatar.avatar.watermark import Watermark

LABEL = Watermark("AI-generated")


def likeness(picture, watermark=LABEL, *, slack_px=0):
    """Tell how much of a watermark a picture shows: 1 is all of it, around 0 none.

    Args:
        picture: uint8 (height, width) grey, or (height, width, 3) BGR.
        watermark: what to look for, of the same size of picture.
        slack_px: how far from its place it may lie.
    """
    grey, wanted, place = _place(picture, watermark)
    near = tuple(slice(max(each.start - slack_px, 0), each.stop + slack_px) for each in place)
    return float(cv2.matchTemplate(grey[near], wanted[place], cv2.TM_CCOEFF_NORMED).max())


def contrast(picture, watermark=LABEL):
    """Tell how strong what is seen in a watermark's place stands out, as a share of how it should."""
    grey, wanted, place = _place(picture, watermark)
    return float(grey[place].std() / wanted[place].std())


def _place(picture, watermark):
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    wanted = cv2.cvtColor(watermark.burn(np.full((*grey.shape, 3), 128, np.uint8), "bgr"), cv2.COLOR_BGR2GRAY)
    rows, columns = np.nonzero(wanted != 128)
    return grey, wanted, (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
