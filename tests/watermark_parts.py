"""Finds a watermark in what came out at the other end."""

import cv2
import numpy as np

from webrtc_avatar.avatar.watermark import Watermark

LABEL = Watermark("AI-generated")


def likeness(picture, watermark=LABEL):
    """Tell how much of a watermark a picture shows: 1 is all of it, around 0 none.

    Args:
        picture: uint8 (height, width) grey, or (height, width, 3) BGR.
        watermark: what to look for, of the same size of picture.
    """
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    plain = np.full((*grey.shape, 3), 128, np.uint8)
    wanted = cv2.cvtColor(watermark.burn(plain, "bgr"), cv2.COLOR_BGR2GRAY)
    rows, columns = np.nonzero(wanted != 128)
    place = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    return float(np.corrcoef(grey[place].ravel(), wanted[place].ravel())[0, 1])
