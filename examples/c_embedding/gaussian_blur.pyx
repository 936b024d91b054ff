# cython: language_level=3
"""Gaussian blur of pictures, by groupconv's C core inside of this module."""

import math

import numpy as np


cdef extern from "gaussian.h" nogil:
    ctypedef struct gaussian:
        pass
    gaussian *gaussian_create(ptrdiff_t, ptrdiff_t, ptrdiff_t, double) noexcept
    int gaussian_run(const gaussian *, const float *, float *, int) noexcept
    ptrdiff_t gaussian_window(const gaussian *) noexcept
    void gaussian_destroy(gaussian *) noexcept

cdef extern from "groupconv.h" nogil:
    const char *gc_last_error() noexcept


cdef class GaussianBlur:
    """Blurs float32 pictures of one shape.

    Parameters
    ----------
    shape : tuple of int
        Height, width, channels.
    sigma : float
        Of the bell curve, in pixels; positive.
    """

    cdef gaussian *blur
    cdef readonly tuple shape

    def __cinit__(self, tuple shape, double sigma):
        self.blur = NULL
        height, width, channels = shape
        if min(shape) < 1 or not 0 < sigma < math.inf:
            raise ValueError(f"no pictures of shape {shape} can be blurred by sigma={sigma}")
        self.shape = shape
        self.blur = gaussian_create(height, width, channels, sigma)
        if self.blur == NULL:
            raise RuntimeError(gc_last_error().decode())

    def __dealloc__(self):
        gaussian_destroy(self.blur)

    @property
    def window(self):
        """Side of the square window that the weights fill."""
        return gaussian_window(self.blur)

    def __call__(self, picture, int threads=1):
        """Blur a picture; the GIL is released while it computes."""
        cdef const float[:, :, ::1] source = picture
        if picture.shape != self.shape:
            raise ValueError(f"picture must have shape {self.shape}, got {picture.shape}")
        blurred = np.empty(self.shape, np.float32)
        cdef float[:, :, ::1] target = blurred
        cdef int status
        with nogil:
            status = gaussian_run(self.blur, &source[0, 0, 0], &target[0, 0, 0], threads)
        if status:
            raise MemoryError(gc_last_error().decode())
        return blurred
