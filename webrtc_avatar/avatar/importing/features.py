"""Features of footage's own sound: rows of 512 numbers, as `.npy` or as bare float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.files import checked_file
from webrtc_avatar.avatar.footage import FEATURES
from webrtc_avatar.avatar.importing.draft import Draft
from webrtc_avatar.avatar.tensors import write_tensors
from webrtc_avatar.errors import CannotImport

COLUMNS = 512
NAMES = ("aud_ave.npy", "aud_ave.bin")
MAX_BYTES = 512 * 1024 * 1024
_TOLERANCE_FRAMES = 25
"""Between sound and picture of one clip: encoders pad either."""


def add_features(source: Path, draft: Draft, *, frame_count: int) -> dict[str, str | int]:
    """Write `features.safetensors` where the source brings features, and return what `[model]` says of it."""
    name = next((name for name in NAMES if (source / name).is_file()), None)
    if name is None:
        draft.warnings.append(
            f"there is no {' or '.join(NAMES)}, so frames need sound: none can be asked for by number alone"
        )
        return {}
    rows = read_rows(source, name)
    if abs(len(rows) - frame_count) > _TOLERANCE_FRAMES:
        raise CannotImport(
            f"{source.name}/{name} has {len(rows)} rows for {frame_count} frames, expected about one a frame; make it again "
            "from the footage's own sound, or remove it to import without features"
        )
    if len(rows) < frame_count:
        draft.warnings.append(
            f"{name} has {len(rows)} rows for {frame_count} frames, so the last {frame_count - len(rows)} have none of their own"
        )
    write_tensors(draft.folder / "features.safetensors", {FEATURES: rows})
    return {"features": "features.safetensors"}


def read_rows(folder: Path, name: str) -> npt.NDArray[np.float32]:
    """Return the rows of a file, float32 (rows, 512).

    Raises:
        CannotImport: it holds anything else.
    """
    path = checked_file(folder, name, max_bytes=MAX_BYTES)
    where = f"{folder.name}/{name}"
    if name.endswith(".bin"):
        row_bytes = 4 * COLUMNS
        if path.stat().st_size % row_bytes:
            raise CannotImport(
                f"{where} has {path.stat().st_size} bytes, expected whole rows of {COLUMNS} float32, {row_bytes} bytes each; "
                "write it again"
            )
        rows = np.fromfile(path, "<f4").reshape(-1, COLUMNS)
    else:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (
            Exception
        ) as error:  # numpy's header parser raises a class a fault, TokenError and SyntaxError among them
            raise CannotImport(
                f"{where} is not a .npy file of plain numbers: {str(error)[:200]}; save it with numpy.save as float32"
            ) from error
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != COLUMNS or array.dtype.kind != "f":
            shown = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
            raise CannotImport(
                f"{where} holds {shown}, expected float32 (rows, {COLUMNS}), which is what mode 'ave' makes; "
                "other modes cannot be imported"
            )
        rows = np.array(array, np.float32)
    if not len(rows):
        raise CannotImport(f"{where} has no rows; make it again, or remove it to import without features")
    if not np.isfinite(rows).all():
        row = int(np.argmin(np.isfinite(rows).all(1)))
        raise CannotImport(f"{where}: row {row} has infinite or missing values; make it again")
    return rows
