"""Turns dlib's recognition network into an ONNX graph, once, in a cache that processes share.

dlib itself runs the network about twenty times slower than ONNX Runtime does. The graph takes chips as they are,
uint8 [n, size, size, 3], and answers dlib's descriptor, float32 [n, 128], before normalisation.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from mien_server.embedding.dlib_files import RECOGNITION_NETWORK, model_file, sha256_of_file
from mien_server.embedding.dlib_weights import (
    Addition,
    Affine,
    Convolution,
    FullyConnected,
    Layer,
    Network,
    Pool,
    Relu,
    read_network,
)
from mien_server.errors import Unavailable

__all__ = ["INPUT_NAME", "OUTPUT_NAME", "graph_file", "network_to_onnx"]

INPUT_NAME: Final = "chips"
OUTPUT_NAME: Final = "descriptors"
PIXEL_SCALE: Final = 256.0
OPERATOR_SET: Final = 17
IR_VERSION: Final = 8
GRAPH_VERSION: Final = 1
"""Grows when the graph made from the same weights changes, so that a cached one is not taken for it."""

CHECKSUM_SUFFIX: Final = ".sha256"


def graph_file(cache_directory: Path) -> Path:
    """The ONNX file of dlib's recognition network, made when the cache does not hold it whole.

    Safe to call from many processes at once: each writes a file of its own name and renames it.

    Raises:
        Unavailable: RECIPE_UNAVAILABLE when the weights are missing; CACHE_NOT_WRITABLE when the cache is.
    """
    weights = model_file(RECOGNITION_NETWORK)
    path = cache_directory / "networks" / f"dlib-resnet-{sha256_of_file(weights)[:16]}-v{GRAPH_VERSION}.onnx"
    if _is_whole(path):
        return path
    content = network_to_onnx(read_network(weights))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The graph first: a checksum without its graph, or of another one, only makes it be written again.
        _replace(path, content)
        _replace(_checksum_path(path), hashlib.sha256(content).hexdigest().encode("ascii"))
    except OSError as error:
        raise Unavailable(
            f"cannot write the network graph {path}: {error}; set the cache directory to a folder that can be written",
            reason="CACHE_NOT_WRITABLE",
        ) from error
    return path


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def _is_whole(path: Path) -> bool:
    try:
        return _checksum_path(path).read_text(encoding="ascii") == sha256_of_file(path)
    except (OSError, UnicodeDecodeError):
        return False


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def network_to_onnx(network: Network) -> bytes:
    """The network as a serialised ONNX model."""
    builder = _Builder(size_px=network.size_px)
    current = builder.preprocess(network.channel_means)
    layers = network.layers
    block_input = current
    position = 0
    while position < len(layers):
        layer = layers[position]
        following = layers[position + 1] if position + 1 < len(layers) else None
        match layer:
            case Convolution():
                assert isinstance(following, Affine)
                current = builder.convolution(current, layer, following)
                position += 1
            case Pool() if isinstance(following, Addition):
                # A block that halves the map: its shortcut is the pooled input of the block.
                block_input = builder.pool(block_input, layer)
            case Pool():
                current = block_input = builder.pool(current, layer)
            case Addition():
                assert isinstance(following, Relu)
                current = block_input = builder.relu(builder.add(current, block_input))
                position += 1
            case Relu():
                current = builder.relu(current)
            case FullyConnected():
                builder.fully_connected(current, layer)
            case Affine():
                raise AssertionError("an affine layer without a convolution")
        position += 1
    return builder.model(dimension=_dimension(layers))


def _dimension(layers: tuple[Layer, ...]) -> int:
    last = layers[-1]
    assert isinstance(last, FullyConnected)
    return int(last.weights.shape[1])


@dataclass(frozen=True, slots=True)
class _Map:
    """A tensor of the graph: its name, channels and side."""

    name: str
    channels: int
    side: int


@dataclass
class _Builder:
    size_px: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def _constant(self, values: npt.NDArray[np.generic]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def preprocess(self, means: tuple[float, float, float]) -> _Map:
        as_float = self._node("Cast", [INPUT_NAME], to=TensorProto.FLOAT)
        centred = self._node("Sub", [as_float, self._constant(np.asarray(means, np.float32))])
        scaled = self._node("Div", [centred, self._constant(np.asarray([PIXEL_SCALE], np.float32))])
        return _Map(self._node("Transpose", [scaled], perm=[0, 3, 1, 2]), 3, self.size_px)

    def convolution(self, source: _Map, layer: Convolution, affine: Affine) -> _Map:
        """A convolution with the affine layer behind it folded into its weights."""
        weights = layer.weights * affine.gamma[:, np.newaxis, np.newaxis, np.newaxis]
        bias = layer.bias * affine.gamma + affine.beta
        filters, _channels, size, _size = weights.shape
        name = self._node(
            "Conv",
            [source.name, self._constant(weights), self._constant(bias)],
            kernel_shape=[size, size],
            strides=[layer.stride, layer.stride],
            pads=[layer.padding] * 4,
        )
        return _Map(name, filters, (source.side + 2 * layer.padding - size) // layer.stride + 1)

    def pool(self, source: _Map, layer: Pool) -> _Map:
        if layer.size == 0:
            return _Map(self._node("GlobalAveragePool", [source.name]), source.channels, 1)
        operator = "MaxPool" if layer.is_maximum else "AveragePool"
        name = self._node(
            operator, [source.name], kernel_shape=[layer.size, layer.size], strides=[layer.stride, layer.stride]
        )
        return _Map(name, source.channels, (source.side - layer.size) // layer.stride + 1)

    def relu(self, source: _Map) -> _Map:
        return _Map(self._node("Relu", [source.name]), source.channels, source.side)

    def add(self, left: _Map, right: _Map) -> _Map:
        """The sum, each map first padded with zeros at its end to the larger of both shapes."""
        channels, side = max(left.channels, right.channels), max(left.side, right.side)
        names = [self._padded(source, channels, side) for source in (left, right)]
        return _Map(self._node("Add", names), channels, side)

    def _padded(self, source: _Map, channels: int, side: int) -> str:
        if (source.channels, source.side) == (channels, side):
            return source.name
        ends = [0, channels - source.channels, side - source.side, side - source.side]
        return self._node("Pad", [source.name, self._constant(np.asarray([0, 0, 0, 0, *ends], np.int64))])

    def fully_connected(self, source: _Map, layer: FullyConnected) -> None:
        flat = self._node("Flatten", [source.name], axis=1)
        self._node("MatMul", [flat, self._constant(layer.weights)], output=OUTPUT_NAME)

    def model(self, dimension: int) -> bytes:
        chips = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", self.size_px, self.size_px, 3])
        descriptors = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", dimension])
        graph = helper.make_graph(self.nodes, "dlib_face_recognition_resnet", [chips], [descriptors], self.constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPERATOR_SET)], ir_version=IR_VERSION, producer_name="mien"
        )
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
