"""facenet-pytorch's crop and InceptionResnetV1: the second half of the `facenet` recipe."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Final

import facenet_pytorch
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mien_server.embedding.alignment import AlignedFace, EyesAndNose
from mien_server.embedding.detection import Detection
from mien_server.embedding.embedders import unit_rows
from mien_server.embedding.options import FacenetPreprocessing
from mien_server.embedding.parameters import CROP_MARGIN_PX, CROP_SIZE_PX
from mien_server.errors import Unavailable
from mien_server.records.faces import Float32Array

__all__ = ["FacenetAligner", "FacenetEmbedder"]

CLASSIFIER_PREFIX: Final = "logits."
"""The published files carry the training classifier, which an embedder has no use for."""


class FacenetAligner:
    """facenet-pytorch's own crop of MTCNN's box, 160 x 160, without turning. Points are MTCNN's."""

    def align(self, pixels: npt.NDArray[np.uint8], detection: Detection) -> AlignedFace:
        """See `Aligner`."""
        assert detection.points is not None
        box = detection.box
        edges = [box.left, box.top, box.left + box.width, box.top + box.height]
        crop = facenet_pytorch.extract_face(Image.fromarray(pixels), edges, CROP_SIZE_PX, CROP_MARGIN_PX)
        chip = np.ascontiguousarray(crop.numpy().transpose(1, 2, 0).astype(np.uint8))
        first, second, nose = detection.points[:3]
        left, right = sorted((first, second), key=lambda eye: float(eye[0]))
        return AlignedFace(detection.points, EyesAndNose(left, right, nose), chip, _outside_share(edges, pixels))


def _outside_share(edges: list[float], pixels: npt.NDArray[np.uint8]) -> float:
    height, width = pixels.shape[:2]
    left, top, right, bottom = edges
    inside = max(0.0, min(right, width) - max(left, 0.0)) * max(0.0, min(bottom, height) - max(top, 0.0))
    return float(1.0 - inside / max(1e-9, (right - left) * (bottom - top)))


class FacenetEmbedder:
    """InceptionResnetV1 on one thread, 512 dimensions.

    Args:
        weights: a torch state dict of facenet-pytorch's InceptionResnetV1, read without unpickling code.

    Raises:
        Unavailable: RECIPE_UNAVAILABLE when the file is no such state dict.
    """

    def __init__(self, weights: Path, preprocessing: FacenetPreprocessing) -> None:
        self._preprocessing = preprocessing
        # Without memory of its own until the file gives it some: drawing random weights takes a second.
        with torch.device("meta"):
            self._network = facenet_pytorch.InceptionResnetV1(pretrained=None)
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            self._network.load_state_dict(_without_classifier(state), assign=True)
        except (RuntimeError, OSError, pickle.UnpicklingError, TypeError, AttributeError, EOFError) as error:
            summary = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Unavailable(
                f"the recipe `facenet` cannot be used: {weights} holds no weights of InceptionResnetV1 ({summary}); "
                "name a torch state dict of facenet-pytorch",
                reason="RECIPE_UNAVAILABLE",
            ) from error
        self._network.eval()

    def embed(self, chips: npt.NDArray[np.uint8]) -> Float32Array:
        """See `Embedder`."""
        values = torch.from_numpy(np.ascontiguousarray(chips.transpose(0, 3, 1, 2), dtype=np.float32))
        with torch.inference_mode():
            return unit_rows(self._network(self._standardised(values)).numpy())

    def _standardised(self, values: torch.Tensor) -> torch.Tensor:
        match self._preprocessing:
            case FacenetPreprocessing.FIXED:
                return (values - 127.5) / 128.0
            case FacenetPreprocessing.PER_IMAGE:
                flat = values.flatten(start_dim=1)
                least = 1.0 / flat.shape[1] ** 0.5
                mean = flat.mean(dim=1).view(-1, 1, 1, 1)
                deviation = flat.std(dim=1).clamp(min=least).view(-1, 1, 1, 1)
                return (values - mean) / deviation


def _without_classifier(state: Any) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.startswith(CLASSIFIER_PREFIX)}
