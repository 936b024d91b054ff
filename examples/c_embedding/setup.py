"""Builds an extension with groupconv's C core inside: groupconv is not needed to run it."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import groupconv

setup(
    ext_modules=cythonize(
        Extension(
            "gaussian_blur",
            sources=["gaussian_blur.pyx", "gaussian.c", *groupconv.get_sources()],
            include_dirs=[".", groupconv.get_include()],
            # without -fopenmp everything works as well, on one thread
            extra_compile_args=["-std=gnu11", "-ffp-contract=off", "-fopenmp"],
            extra_link_args=["-fopenmp"],
            libraries=["m"],
        )
    )
)
