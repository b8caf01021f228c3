"""Reads dlib's serialised face recognition network into arrays.

The format (dlib/serialize.h, dlib/dnn/core.h, dlib/dnn/layers.h): an integer is a control byte (low four bits: the
number of bytes that follow; high bit: negative) and its little-endian magnitude; a float is two integers, mantissa
and exponent; a string an integer and its bytes; a boolean the character 1 or 0; a tensor a version, four dimensions
and raw little-endian float32. A network is written from its input to its output, after one version number for each
layer, tag and skip around the input; each layer is its details, three booleans and three (here empty) tensors, and
the first of them ends with the sample expansion factor of its input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien_server.errors import Unavailable

__all__ = ["Addition", "Affine", "Convolution", "FullyConnected", "Layer", "Network", "Pool", "Relu", "read_network"]

Float32Array = npt.NDArray[np.float32]

TENSOR_VERSION: Final = 2
ALIAS_VERSION: Final = 1
INPUT_LAYER_VERSION: Final = 3
LAYER_VERSIONS: Final = (1, 2)
INTEGER_BYTES_MAX: Final = 8
STRING_BYTES_MAX: Final = 64
BOOLEANS_PER_LAYER: Final = 3
TENSORS_PER_LAYER: Final = 3
HYPERPARAMETERS_PER_LAYER: Final = 4


@dataclass(frozen=True, slots=True)
class Convolution:
    """Weights float32 [filters, channels, rows, columns], bias float32 [filters]; stride and padding on both axes."""

    weights: Float32Array
    bias: Float32Array
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Affine:
    """Multiplies and shifts each channel: gamma and beta are float32 [channels]."""

    gamma: Float32Array
    beta: Float32Array


@dataclass(frozen=True, slots=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A window over each channel; size 0 is the whole map."""

    is_maximum: bool
    size: int
    stride: int


@dataclass(frozen=True, slots=True)
class Addition:
    """Adds the shortcut of the residual block; the smaller map is padded with zeros at its end."""


@dataclass(frozen=True, slots=True)
class FullyConnected:
    """Weights float32 [inputs, outputs], no bias."""

    weights: Float32Array


Layer = Convolution | Affine | Relu | Pool | Addition | FullyConnected


@dataclass(frozen=True, slots=True)
class Network:
    """Layers from input to output; the input is (RGB - means) / 256 at `size_px` x `size_px`."""

    channel_means: tuple[float, float, float]
    size_px: int
    layers: tuple[Layer, ...]


def read_network(path: Path) -> Network:
    """The network in a dlib .dat file of the face recognition ResNet.

    Raises:
        Unavailable: RECIPE_UNAVAILABLE when the file is not such a network.
    """
    reader = _Reader(path.read_bytes(), path)
    reader.integer()
    reader.expect_string("loss_metric_2")
    reader.float()
    reader.float()
    version = reader.integer()
    while version in LAYER_VERSIONS:
        version = reader.integer()
    reader.require(version == INPUT_LAYER_VERSION, f"version {version} of the input layer")
    reader.expect_string("input_rgb_image_sized")
    means = (reader.float(), reader.float(), reader.float())
    rows, columns = reader.integer(), reader.integer()
    reader.require(rows == columns, f"an input of {rows} x {columns}")
    layers = [reader.layer()]
    reader.require(reader.integer() == 1, "an input that expands samples")
    while not reader.at_end():
        layers.append(reader.layer())
    return Network(means, rows, tuple(layers))


class _Reader:
    """Reads dlib's primitives in order and refuses anything unexpected."""

    def __init__(self, content: bytes, path: Path) -> None:
        self._content = content
        self._path = path
        self._position = 0
        self._details: dict[str, Callable[[], Layer]] = {
            "con_4": self._convolution,
            "affine_": self._affine,
            "relu_": Relu,
            "max_pool_2": lambda: self._pool(is_maximum=True),
            "avg_pool_2": lambda: self._pool(is_maximum=False),
            "add_prev_": Addition,
            "fc_2": self._fully_connected,
        }

    def require(self, holds: bool, found: str) -> None:
        if not holds:
            raise Unavailable(
                f"{self._path} is not dlib's face recognition network: {found} at byte {self._position}; reinstall "
                "face-recognition-models",
                reason="RECIPE_UNAVAILABLE",
            )

    def at_end(self) -> bool:
        return self._position == len(self._content)

    def _take(self, count: int) -> bytes:
        self.require(0 <= count <= len(self._content) - self._position, "the end of the file")
        start, self._position = self._position, self._position + count
        return self._content[start : self._position]

    def integer(self) -> int:
        control = self._take(1)[0]
        length = control & 0x0F
        self.require(1 <= length <= INTEGER_BYTES_MAX and not control & 0x70, f"control byte {control}")
        magnitude = int.from_bytes(self._take(length), "little")
        return -magnitude if control & 0x80 else magnitude

    def float(self) -> float:
        mantissa = self.integer()
        return float(mantissa) * 2.0 ** self.integer()

    def string(self) -> str:
        length = self.integer()
        self.require(0 <= length <= STRING_BYTES_MAX, f"a string of {length} bytes")
        return self._take(length).decode("ascii", errors="replace")

    def expect_string(self, expected: str) -> None:
        found = self.string()
        self.require(found == expected, f"{found!r} instead of {expected!r}")

    def tensor(self) -> Float32Array:
        version = self.integer()
        self.require(version == TENSOR_VERSION, f"version {version} of a tensor")
        count = 1
        for _ in range(4):
            count *= self.integer()
        self.require(count >= 0, f"a tensor of {count} values")
        return np.frombuffer(self._take(4 * count), dtype="<f4").astype(np.float32)

    def alias(self) -> tuple[int, ...]:
        """The shape of a part of a layer's parameters."""
        version = self.integer()
        self.require(version == ALIAS_VERSION, f"version {version} of a part")
        return tuple(self.integer() for _ in range(4))

    def layer(self) -> Layer:
        name = self.string()
        details = self._details.get(name)
        self.require(details is not None, f"layer {name!r}")
        assert details is not None
        layer = details()
        booleans = self._take(BOOLEANS_PER_LAYER)
        self.require(set(booleans) <= {ord("0"), ord("1")}, f"booleans {booleans!r}")
        for _ in range(TENSORS_PER_LAYER):
            self.require(self.tensor().size == 0, "a layer that holds training state")
        return layer

    def _parts(self, parameters: Float32Array) -> tuple[Float32Array, Float32Array]:
        """A layer's parameters cut into its two parts, shaped as the file says."""
        first_shape, second_shape = self.alias(), self.alias()
        first_count, second_count = int(np.prod(first_shape)), int(np.prod(second_shape))
        self.require(first_count + second_count == parameters.size, "parameters of another size")
        return parameters[:first_count].reshape(first_shape), parameters[first_count:].reshape(second_shape)

    def _skip_hyperparameters(self) -> None:
        for _ in range(HYPERPARAMETERS_PER_LAYER):
            self.float()

    def _convolution(self) -> Convolution:
        parameters = self.tensor()
        filters, rows, columns = self.integer(), self.integer(), self.integer()
        stride_y, stride_x, padding_y, padding_x = (self.integer() for _ in range(4))
        weights, bias = self._parts(parameters)
        self._skip_hyperparameters()
        self.require(weights.shape[0] == filters and weights.shape[2:] == (rows, columns), "filters of another shape")
        self.require(stride_y == stride_x and padding_y == padding_x, "unequal strides or paddings")
        return Convolution(weights, bias.reshape(-1), stride_y, padding_y)

    def _affine(self) -> Affine:
        gamma, beta = self._parts(self.tensor())
        self.require(self.integer() == 0, "an affine layer that is not per channel")
        return Affine(gamma.reshape(-1), beta.reshape(-1))

    def _pool(self, *, is_maximum: bool) -> Pool:
        rows, columns, stride_y, stride_x, padding_y, padding_x = (self.integer() for _ in range(6))
        self.require(rows == columns and stride_y == stride_x, "an oblong pool")
        self.require(padding_y == 0 and padding_x == 0, "a padded pool")
        return Pool(is_maximum, rows, stride_y)

    def _fully_connected(self) -> FullyConnected:
        outputs, inputs = self.integer(), self.integer()
        weights, bias = self._parts(self.tensor())
        self.integer()
        self._skip_hyperparameters()
        self.require(bias.size == 0 and weights.size == inputs * outputs, "a last layer of another shape")
        return FullyConnected(weights.reshape(inputs, outputs))
