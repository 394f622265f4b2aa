"""SyncTalk_2D as torch modules: a U-Net that redraws a face's mouth to fit 16 rows of audio features.

Source: the network of github.com/cvoalex/SyncTalk_2D (revision 9e82dcc), from a description of its tensors; the keys of the
state are the original's. Ultralight-Digital-Human is the same network with other audio branches. Convolutions between batch
normalisations have no bias, and the last one of a block no activation (Sandler et al., "MobileNetV2", 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from webrtc_avatar.nets.synctalk2d_shape import Arrays, AudioMode, Shape, shape_of

Block = tuple[int, int, int]


class InvertedResidual(nn.Module):
    """A wide 1x1, a depthwise 3x3 and a narrow 1x1 convolution, with the input added where `residual`."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        wide = 2 * inputs
        self._residual = residual
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        y: torch.Tensor = self.conv(x)
        return x + y if self._residual else y


class DoubleConv(nn.Module):
    """Two inverted residuals, the second with its input added."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            InvertedResidual(inputs, outputs, stride=stride), InvertedResidual(outputs, outputs, residual=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        y: torch.Tensor = self.double_conv(x)
        return y


class Stem(nn.Module):
    """The first block, at full size."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.inconv = nn.Sequential(InvertedResidual(6, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, 6, h, w) to (batch, outputs, h, w)."""
        y: torch.Tensor = self.inconv(x)
        return y


class Down(nn.Module):
    """One level down, by a stride of 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(DoubleConv(inputs, outputs, stride=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, h / 2, w / 2)."""
        y: torch.Tensor = self.maxpool_conv(x)
        return y


class Up(nn.Module):
    """One level up: bilinear with aligned corners, beside the encoder's map of that size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = DoubleConv(inputs, outputs)

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Map (batch, c, h, w) and (batch, inputs - c, 2 h, 2 w) to (batch, outputs, 2 h, 2 w)."""
        wide = functional.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=True)
        y: torch.Tensor = self.conv(torch.cat([wide, skip], dim=1))
        return y


class AudioBranch(nn.Module):
    """Audio features to a map of 10x10; shapes and strides differ with where the features come from."""

    def __init__(self, first: Block, third: Block, stride: tuple[int, int]) -> None:
        """Take the channels of the first three blocks, (in, out of conv1, out of conv2), and of conv3 to conv5."""
        super().__init__()
        a, b, c = first
        d, e, f = third
        self.conv1 = InvertedResidual(a, b, residual=a == b)
        self.conv2 = InvertedResidual(b, c, residual=b == c)
        self.conv3 = nn.Conv2d(c, d, 3, stride, 1)
        self.bn3 = nn.BatchNorm2d(d)
        self.conv4 = InvertedResidual(d, e, residual=True)
        self.conv5 = nn.Conv2d(e, f, 3, 2, 3)
        self.bn5 = nn.BatchNorm2d(f)
        self.conv6 = InvertedResidual(f, f, residual=True)
        self.conv7 = InvertedResidual(f, f, residual=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features, such as (batch, 32, 16, 16), to (batch, 512, 10, 10)."""
        x = self.conv2(self.conv1(x))
        x = self.conv4(functional.relu(self.bn3(self.conv3(x))))
        x = functional.relu(self.bn5(self.conv5(x)))
        y: torch.Tensor = self.conv7(self.conv6(x))
        return y


class Head(nn.Module):
    """The last 1x1 convolution, to blue, green and red."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, inputs, h, w) to (batch, 3, h, w) before the sigmoid."""
        y: torch.Tensor = self.conv(x)
        return y


class SyncTalk2D(nn.Module):
    """image (batch, 6, size, size), BGR 0..1, whole then masked, and audio features -> face (batch, 3, size, size), BGR 0..1.

    Args:
        shape: channels of every part; `shape_of` tells them from a checkpoint.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        levels = shape.encoder
        self.shape = shape
        self.inc = Stem(levels[0])
        for number, (above, below) in enumerate(pairwise(levels), start=1):
            self.add_module(f"down{number}", Down(above, below))
        self.audio_model = AudioBranch(shape.audio[:3], shape.audio[3:], shape.audio_stride)
        a, b = shape.fuse
        self.fuse_conv = nn.Sequential(DoubleConv(levels[-1] + shape.audio[-1], a), DoubleConv(a, b))
        deep = b
        for number, outputs in enumerate(shape.decoder, start=1):
            self.add_module(f"up{number}", Up(deep + levels[-1 - number], outputs))
            deep = outputs
        self.outc = Head(deep)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]], mode: AudioMode = "ave") -> SyncTalk2D:
        """Return the network of a checkpoint's arrays, keyed as the original's state, in evaluation mode.

        Raises:
            ValueError: they are not those of a SyncTalk_2D network.
        """
        network = cls(shape_of(arrays, mode))
        load_state(network, arrays)
        return network.eval()

    def maps(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return what depends on the picture alone: the encoder's maps, largest first."""
        maps = [self.inc(image)]
        for number in range(1, len(self.shape.encoder)):
            maps.append(self.get_submodule(f"down{number}")(maps[-1]))
        return maps

    def face(self, maps: Sequence[torch.Tensor], audio: torch.Tensor) -> torch.Tensor:
        """Return the face of maps and features."""
        x = self.fuse_conv(torch.cat([maps[-1], self.audio_model(audio)], dim=1))
        for number in range(1, len(maps)):
            x = self.get_submodule(f"up{number}")(x, maps[-1 - number])
        return torch.sigmoid(self.outc(x))

    def forward(self, image: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """Return the face."""
        return self.face(self.maps(image), audio)


class ConvBlock(nn.Module):
    """Convolution, normalisation, the input added where `residual`, and only then the activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self._residual = residual
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, h', w')."""
        y = self.conv_block(x)
        return functional.relu(x + y if self._residual else y)


class MelEncoder(nn.Sequential):
    """mel (batch, 1, 80, 16) -> features (batch, 512): Wav2Lip's audio encoder, which SyncTalk_2D uses for mode `ave`."""

    def __init__(self) -> None:
        super().__init__(
            ConvBlock(1, 32),
            *(ConvBlock(32, 32, residual=True) for _ in range(2)),
            ConvBlock(32, 64, stride=(3, 1)),
            *(ConvBlock(64, 64, residual=True) for _ in range(2)),
            ConvBlock(64, 128, stride=3),
            *(ConvBlock(128, 128, residual=True) for _ in range(2)),
            ConvBlock(128, 256, stride=(3, 2)),
            ConvBlock(256, 256, residual=True),
            ConvBlock(256, 512, padding=0),
            ConvBlock(512, 512, 1, padding=0),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> MelEncoder:
        """Return the encoder of a checkpoint's arrays (`0.conv_block.0.weight` ...), in evaluation mode.

        Raises:
            ValueError: they are not those of this encoder.
        """
        network = cls()
        load_state(network, arrays)
        return network.eval()

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        y: torch.Tensor = super().forward(mel)  # type: ignore[no-untyped-call]
        return y.flatten(1)


def load_state(network: nn.Module, arrays: Arrays) -> None:
    """Fill a network from arrays by name; none may be missing, left over or of another shape."""
    try:
        network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in arrays.items()})
    except RuntimeError as error:
        raise ValueError(str(error)) from error
