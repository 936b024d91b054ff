"""From a map of text probabilities to upright pictures of the lines of text.

The detector is trained to mark a shrunken core of every line, so that neighbouring lines stay apart
(differentiable binarization, Liao et al., 2020). A line's box is the smallest rectangle around a
core, grown back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from groupconv.demo.network import Array

_CORE_PROBABILITY = 0.3
_LINE_PROBABILITY = 0.5
_LEAST_SIDE = 3.0
# Distance by which to grow a core of area A and perimeter P back, in units of A / P.
_GROWTH = 1.6
# A box this much taller than wide holds vertical text.
_TALL = 1.5
# Pixels beyond which a cubic spline's coefficients are negligible: each is 0.27 of the one before.
_SPLINE_REACH = 12


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in an image: its centre, its direction of reading and its size in pixels.

    Points are (y, x), angles are in radians, and 0 reads to the right.
    """

    centre: tuple[float, float]
    angle: float
    width: float
    height: float

    def scaled(self, y: float, x: float) -> Box:
        """Return the box in an image scaled by `y` and `x`, which are nearly equal."""
        mean = (x * y) ** 0.5
        centre = (self.centre[0] * y, self.centre[1] * x)
        return Box(centre, self.angle, self.width * mean, self.height * mean)

    def crop(self, image: Array, height: int) -> Array:
        """Sample the box upright, by cubic splines.

        Parameters
        ----------
        image : float array, (height, width, channels)
            With values from 0 to 1.
        height : int
            Of the result, whose width follows.

        Returns
        -------
        array, (height, width, channels)
        """
        width = max(1, round(self.width * height / self.height))
        down = ((np.arange(height) + 0.5) / height - 0.5) * self.height
        right = ((np.arange(width) + 0.5) / width - 0.5) * self.width
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        y = self.centre[0] + down[:, None] * cosine + right * sine
        x = self.centre[1] - down[:, None] * sine + right * cosine
        rows, columns = _around(y, image.shape[0]), _around(x, image.shape[1])
        at = y - rows.start, x - columns.start
        sampled = [
            ndimage.map_coordinates(channel, at, order=3, mode="nearest")
            for channel in np.moveaxis(image[rows, columns], -1, 0)
        ]
        return np.clip(np.stack(sampled, axis=-1), 0, 1)


def _around(positions: Array, length: int) -> slice:
    """Return the pixels that splines at these positions depend on."""
    first = np.floor(positions.min()) - _SPLINE_REACH
    last = np.ceil(positions.max()) + _SPLINE_REACH
    return slice(int(np.clip(first, 0, length - 1)), int(np.clip(last, 0, length - 1)) + 1)


def find_lines(probability: Array) -> list[Box]:
    """Return a box for every line of text, from top to bottom.

    Parameters
    ----------
    probability : array, (height, width)
        Of each pixel to belong to the core of a line.
    """
    labels, _ = ndimage.label(probability > _CORE_PROBABILITY, np.ones((3, 3)))
    boxes = []
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        core = labels[window] == label
        if probability[window][core].mean() < _LINE_PROBABILITY:
            continue
        # A pixel is an area: its outline, not its centre, is what the box goes around.
        points = np.argwhere(core)[:, None] + [[0, 0], [0, 1], [1, 0], [1, 1]]
        offset = (window[0].start - 0.5, window[1].start - 0.5)
        box = smallest_rectangle(points.reshape(-1, 2) + offset)
        if min(box.width, box.height) < _LEAST_SIDE:
            continue
        growth = _GROWTH * box.width * box.height / (box.width + box.height)
        boxes.append(Box(box.centre, box.angle, box.width + growth, box.height + growth))
    return _in_reading_order(boxes)


def _in_reading_order(boxes: list[Box]) -> list[Box]:
    """Sort by rows, a row being boxes whose centres differ by less than half a height."""
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box.centre):
        if rows and box.centre[0] - rows[-1][0].centre[0] < rows[-1][0].height / 2:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [box for row in rows for box in sorted(row, key=lambda box: box.centre[1])]


def smallest_rectangle(points: Array) -> Box:
    """Return the rectangle of least area around points (y, x), read along its longer side.

    One of its sides lies on a side of the convex hull (Freeman and Shapira, 1975), so trying each
    of these directions finds it.
    """
    hull = convex_hull(points)
    edges = np.roll(hull, -1, axis=0) - hull
    # The directions of a rectangle's sides are the same after a quarter turn.
    angles = np.unique(np.arctan2(edges[:, 0], edges[:, 1]) % (np.pi / 2))
    axes = np.stack([np.sin(angles), np.cos(angles)]), np.stack([np.cos(angles), -np.sin(angles)])
    along, across = hull @ axes[0], hull @ axes[1]
    sizes = np.ptp(along, axis=0), np.ptp(across, axis=0)
    best = int(np.argmin(sizes[0] * sizes[1]))
    middle = [(side[:, best].min() + side[:, best].max()) / 2 for side in (along, across)]
    centre = middle[0] * axes[0][:, best] + middle[1] * axes[1][:, best]
    width, height, angle = float(sizes[0][best]), float(sizes[1][best]), float(angles[best])
    # Angles lie in [0, pi / 2): the one nearest to the horizontal is this or a quarter turn less.
    if angle > np.pi / 4:
        width, height, angle = height, width, angle - np.pi / 2
    if height > _TALL * width:
        width, height, angle = height, width, angle - np.pi / 2
    return Box((float(centre[0]), float(centre[1])), angle, width, height)


def convex_hull(points: Array) -> Array:
    """Return the corners of the convex hull of points, by Andrew's monotone chains (1979)."""
    ordered = np.unique(points, axis=0).tolist()
    if len(ordered) < 3:
        return np.asarray(ordered)
    return np.asarray(_chain(ordered)[:-1] + _chain(ordered[::-1])[:-1])


def _chain(points: list[list[float]]) -> list[list[float]]:
    chain: list[list[float]] = []
    for point in points:
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    return chain


def _turn(a: list[float], b: list[float], c: list[float]) -> float:
    """Return the cross product of ab and ac: positive for a left turn."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
