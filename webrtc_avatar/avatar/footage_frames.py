"""Frames of footage, decoded when somebody wants them and kept within one memory budget for the whole process."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.files import MAX_IMAGE_BYTES, image_size, is_whole, read_limited
from webrtc_avatar.errors import FrameOutOfRange, InvalidAvatar

Picture = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""Width, height in pixels."""

_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
DEFAULT_BUDGET_BYTES = 256 * 1024 * 1024


class FrameCache:
    """Pictures by key, the least recently used given up first; any thread may call it.

    Attributes:
        budget_bytes: what it keeps at most; may be set at any time.
    """

    def __init__(self, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self.budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._pictures: OrderedDict[tuple[Hashable, ...], Picture] = OrderedDict()
        self._bytes = 0
        self._left: deque[Hashable] = deque()

    @property
    def used_bytes(self) -> int:
        """What is kept now."""
        return self._bytes

    def get(self, key: tuple[Hashable, ...], make: Callable[[], Picture]) -> Picture:
        """Return the picture of a key, made where it is not kept; not to be written to."""
        with self._lock:
            while self._left:
                self._drop(self._left.popleft())
            known = self._pictures.get(key)
            if known is not None:
                self._pictures.move_to_end(key)
                return known
        picture = make()
        picture.flags.writeable = False
        with self._lock:
            if key not in self._pictures and picture.nbytes <= self.budget_bytes:
                self._pictures[key] = picture
                self._bytes += picture.nbytes
            while self._bytes > self.budget_bytes:
                self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture

    def forget(self, owner: Hashable) -> None:
        """Give up every picture whose key begins with `owner`, at the next `get`: the garbage collector calls this anywhere."""
        self._left.append(owner)

    def _drop(self, owner: Hashable) -> None:
        for key in [key for key in self._pictures if key[0] == owner]:
            self._bytes -= self._pictures.pop(key).nbytes


CACHE = FrameCache()
_owners = itertools.count()


class FootageFrames:
    """The numbered pictures of a package.

    Args:
        name: the avatar's, for messages.
        folder: the package.
        pattern: of a picture's path in it, such as `frames/{:06d}.jpg`.
        count: how many there are.
        size: of each as it is on disk.
        cache: where decoded ones are kept.
    """

    def __init__(
        self, name: str, folder: Path, pattern: str, *, count: int, size: Size, cache: FrameCache = CACHE
    ) -> None:
        self._name, self._folder, self._pattern, self._count = name, folder, pattern, count
        self._stored_size, self._cache = size, cache
        self._owner = next(_owners)
        self.size: Size = (size[0] - size[0] % 2, size[1] - size[1] % 2)
        weakref.finalize(self, cache.forget, self._owner)

    def get(self, number: int, size: Size | None = None) -> Picture:
        """Return a frame, uint8 (height, width, 3) BGR, even in both; not to be written to.

        Args:
            number: 0 to count - 1.
            size: scale it to this; none: as it was filmed, without the last column or row where that is odd.

        Raises:
            FrameOutOfRange: there is no such frame.
            InvalidAvatar: its file is missing, damaged, or of another size.
        """
        self.check(number)
        size = size or self.size
        return self._cache.get((self._owner, number, size), lambda: self._scaled(number, size))

    def check(self, number: int) -> None:
        """Raise FrameOutOfRange where there is no such frame."""
        if not 0 <= number < self._count:
            raise FrameOutOfRange(
                f"frame {number} of avatar {self._name!r} does not exist: it has {self._count}, from 0 to "
                f"{self._count - 1}; ask for one of those"
            )

    def _scaled(self, number: int, size: Size) -> Picture:
        if size == self.size:
            return np.ascontiguousarray(self._decode(number, cv2.IMREAD_COLOR)[: size[1], : size[0]])
        # libjpeg decodes at half the size for a third of the time. What is left is less than a half, for which linear
        # interpolation (0.5 ms) shows what averaging over areas (6 ms) does: 45 dB, of 1280x720 to 682x384.
        fits = [
            flag for share, flag in _REDUCED.items() if all(share * size[side] <= self.size[side] for side in (0, 1))
        ]
        return np.asarray(cv2.resize(self._decode(number, fits[-1]), size, interpolation=cv2.INTER_LINEAR), np.uint8)

    def _decode(self, number: int, flag: int) -> Picture:
        name = self._pattern.format(number)
        data = read_limited(self._folder, name, max_bytes=MAX_IMAGE_BYTES)
        where = f"{self._folder.name}/{name}"
        found = image_size(data)
        if found != self._stored_size:
            raise InvalidAvatar(
                f"{where} is {f'{found[0]}x{found[1]} pixels' if found else 'neither JPEG nor PNG'}, avatar.toml says "
                f"{self._stored_size[0]}x{self._stored_size[1]}; import the avatar again"
            )
        if not is_whole(data):
            raise InvalidAvatar(
                f"{where} is damaged: it is cut short, or one of its chunks is; import the avatar again"
            )
        try:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error as error:
            raise InvalidAvatar(f"{where} is damaged ({error.err}); import the avatar again") from error
        if picture is None or picture.dtype != np.uint8 or picture.ndim != 3:
            raise InvalidAvatar(f"{where} is damaged: it does not decode; import the avatar again")
        return np.asarray(picture, np.uint8)
