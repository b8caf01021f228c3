"""dlib's HOG face detector: which scales are searched, and what that costs and loses.

The detector's window is 80 x 80 pixels, so a face must be at least that large at the scale searched. Two passes:

- coarse: the picture as it is, or scaled down to `HOG_COARSE_PIXELS_MAX`;
- fine: twice the size, or as much as `HOG_FINE_PIXELS_MAX` allows. Four times the work, so it is left out for a
  portrait: when the largest face found is at least `HOG_PORTRAIT_SHARE` of the picture's shorter side.

The smallest face found is 40 pixels in pictures of up to 2 megapixels, 80 in 8, about 100 in 12 and 200 in 50. In a
portrait, a second face in the background is found from 80 pixels (at up to 2 megapixels).

dlib finds nothing, silently, in an array of negative stride; `find` therefore insists on contiguous pixels.
"""

from __future__ import annotations

import dlib
import numpy as np
import numpy.typing as npt

from mien_server.embedding.detection import Detection, without_duplicates, working_scale
from mien_server.embedding.parameters import (
    HOG_COARSE_PIXELS_MAX,
    HOG_FINE_PIXELS_MAX,
    HOG_LOWEST_SCORE,
    HOG_PORTRAIT_SHARE,
    HOG_UPRIGHT_SCORE,
    HOG_WINDOW_PX,
)
from mien_server.embedding.pixels import resized
from mien_server.records.faces import Box

__all__ = ["HogFinder"]


class HogFinder:
    """dlib's frontal face detector."""

    def __init__(self) -> None:
        self._detector = dlib.get_frontal_face_detector()

    @property
    def lowest_score(self) -> float:
        """See `FaceFinder`."""
        return HOG_LOWEST_SCORE

    @property
    def upright_score(self) -> float:
        """See `FaceFinder`."""
        return HOG_UPRIGHT_SCORE

    def find(self, pixels: npt.NDArray[np.uint8]) -> list[Detection]:
        """See `FaceFinder`."""
        height, width = pixels.shape[:2]
        coarse_scale = working_scale(height, width, HOG_COARSE_PIXELS_MAX, 1.0)
        found = self._search(pixels, coarse_scale)
        if found and max(face.box.width for face in found) >= HOG_PORTRAIT_SHARE * min(height, width):
            return without_duplicates(found)
        return without_duplicates(
            [*found, *self._search(pixels, working_scale(height, width, HOG_FINE_PIXELS_MAX, 2.0))]
        )

    def glance(self, pixels: npt.NDArray[np.uint8], size_px: float) -> list[Detection]:
        """See `FaceFinder`."""
        height, width = pixels.shape[:2]
        scale_max = 1.0 if size_px >= HOG_WINDOW_PX else 2.0
        return without_duplicates(self._search(pixels, working_scale(height, width, HOG_COARSE_PIXELS_MAX, scale_max)))

    def _search(self, pixels: npt.NDArray[np.uint8], scale: float) -> list[Detection]:
        assert pixels.flags.c_contiguous
        assert pixels.dtype == np.uint8
        # dlib's own doubling is the scale its detector was measured with.
        doublings = 1 if scale == 2.0 else 0
        working = pixels if doublings else resized(pixels, scale)
        factor = 1.0 if doublings else scale
        rectangles, scores, _detectors = self._detector.run(working, doublings, HOG_LOWEST_SCORE)
        return [
            Detection(
                Box(
                    rectangle.left() / factor,
                    rectangle.top() / factor,
                    rectangle.width() / factor,
                    rectangle.height() / factor,
                ),
                float(score),
            )
            for rectangle, score in zip(rectangles, scores, strict=True)
        ]
