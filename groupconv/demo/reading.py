"""Reading the text of a photograph with the three networks of PP-OCRv4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from groupconv.demo import wheels
from groupconv.demo.network import Array, Network

try:
    import skimage.data
    import skimage.io
    import skimage.util
    from skimage.transform import resize

    from groupconv.demo.regions import Box, find_lines
except ModuleNotFoundError as error:
    raise ImportError(
        f"reading pictures needs {error.name}: pip install 'groupconv[demo]'"
    ) from error

_WHEEL = "rapidocr-onnxruntime"
# The detector sees pictures enlarged so that the shorter side has this many pixels, unless the
# longer one would have too many; its strides ask for a multiple.
_SHORTER_SIDE, _LONGER_SIDE, _MULTIPLE = 736, 2000, 32
# Height of a line, and the width of it that the direction network looks at.
_LINE_HEIGHT, _DIRECTION_WIDTH = 48, 192
_PERHAPS_TURNED = 0.5
_LEAST_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, where it stands, and the mean probability of its characters."""

    text: str
    confidence: float
    box: Box


def load_image(path: str | None = None) -> Array:
    """Return a picture from a file, or the photograph of a page that scikit-image carries.

    Returns
    -------
    uint8 array, (height, width) or (height, width, 3)
    """
    if path is None:
        return np.asarray(skimage.data.page())
    image = skimage.util.img_as_ubyte(skimage.io.imread(path))
    if image.ndim == 2:
        return image
    return image[..., :3] if image.shape[2] >= 3 else image[..., 0]


class Reader:
    """Finds lines of text, turns them upright and reads them.

    Parameters
    ----------
    compare : bool, optional
        Whether ONNX Runtime computes every network too, for `networks`' differences.

    Attributes
    ----------
    networks : dict of str to Network
        ``detection``, ``direction`` and ``recognition``.
    """

    def __init__(self, compare: bool = True) -> None:
        files = {"detection": "det_infer", "direction": "cls_infer", "recognition": "rec_infer"}
        self.networks = {
            name: Network(wheels.find(_WHEEL, f"{ending}.onnx"), compare)
            for name, ending in files.items()
        }
        # Class 0 is the blank between characters; the space comes after the alphabet.
        characters = self.networks["recognition"].metadata["character"].split("\n")
        self._alphabet = ["", *characters, " "]

    @property
    def difference(self) -> float:
        """Largest difference to ONNX Runtime in any network's output; NaN if not compared."""
        return float(np.max([network.difference for network in self.networks.values()]))

    def read(self, image: Array) -> list[Line]:
        """Return the lines of text, from top to bottom.

        Parameters
        ----------
        image : uint8 array, (height, width) or (height, width, 3)
        """
        return list(self._lines(image))

    def _lines(self, image: Array) -> Iterator[Line]:
        values = image.reshape(*image.shape[:2], -1).astype(np.float32) / 255
        for box in self._detect(values):
            line = box.crop(values, _LINE_HEIGHT)
            text, confidence = self._recognize(line)
            if self._seems_turned(line):
                # The direction network sees long lines squeezed and is sometimes wrong.
                turned = self._recognize(line[::-1, ::-1])
                text, confidence = max((text, confidence), turned, key=lambda read: read[1])
            if confidence >= _LEAST_CONFIDENCE:
                yield Line(text, confidence, box)

    def _recognize(self, line: Array) -> tuple[str, float]:
        (probabilities,) = self.networks["recognition"](_batch(line))
        return decode(probabilities[0], self._alphabet)

    def _detect(self, image: Array) -> list[Box]:
        size = image.shape[:2]
        scale = min(max(1.0, _SHORTER_SIDE / min(size)), _LONGER_SIDE / max(size))
        height, width = (_multiple(length * scale) for length in size)
        (probability,) = self.networks["detection"](_batch(resize(image, (height, width))))
        back = size[0] / height, size[1] / width
        return [box.scaled(*back) for box in find_lines(probability[0, 0])]

    def _seems_turned(self, line: Array) -> bool:
        """Ask the direction network whether a line is upside down."""
        seen = np.full((_LINE_HEIGHT, _DIRECTION_WIDTH, line.shape[2]), 0.5, np.float32)
        width = min(line.shape[1], _DIRECTION_WIDTH)
        seen[:, :width] = resize(line, (_LINE_HEIGHT, width))
        (probability,) = self.networks["direction"](_batch(seen))
        return bool(probability[0, 1] > _PERHAPS_TURNED)


def _multiple(length: float) -> int:
    return max(1, round(length / _MULTIPLE)) * _MULTIPLE


def _batch(image: Array) -> Array:
    """Return ``(1, 3, height, width)`` with values from -1 to 1, as the networks take them."""
    planes = np.broadcast_to(image.transpose(2, 0, 1), (3, *image.shape[:2]))
    return np.ascontiguousarray(planes[None] * 2 - 1, np.float32)


def decode(probabilities: Array, alphabet: list[str]) -> tuple[str, float]:
    """Read the most probable class at each step, by the rule of CTC (Graves et al., 2006).

    A run of equal classes is one character, and blanks separate equal neighbours.

    Parameters
    ----------
    probabilities : array, (steps, classes)
    alphabet : list of str
        What each class stands for; class 0 is the blank.

    Returns
    -------
    text : str
    confidence : float
        Mean probability of the characters; 0 without any.
    """
    classes = probabilities.argmax(axis=1)
    starts = np.flatnonzero((classes != 0) & (np.diff(classes, prepend=0) != 0))
    if starts.size == 0:
        return "", 0.0
    text = "".join(alphabet[i] for i in classes[starts])
    return text, float(probabilities[starts, classes[starts]].mean())
