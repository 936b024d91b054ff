"""Builds the one extension module. Everything else about the package is in pyproject.toml."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = pathlib.Path(__file__).parent
SOURCES = "src/groupconv_c"
OPENMP_PROBE = """
#include <omp.h>
int main(void) {
    int threads = 0;
#pragma omp parallel num_threads(2) reduction(+ : threads)
    threads += 1;
    return threads > 0 && omp_get_max_threads() > 0 ? 0 : 1;
}
"""


def version():
    text = (HERE / "pyproject.toml").read_text()
    return re.search(r'^version = "(.+)"', text, re.MULTILINE).group(1)


def openmp_works(compiler):
    """Whether a program with -fopenmp compiles, links and runs."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "probe.c")
        source.write_text(OPENMP_PROBE)
        program = str(pathlib.Path(folder, "probe"))
        command = [*compiler, "-fopenmp", str(source), "-o", program]
        try:
            subprocess.run(command, check=True, capture_output=True)
            subprocess.run([program], check=True, capture_output=True, timeout=20)
        except (OSError, subprocess.SubprocessError):
            return False
    return True


class Build(build_ext):
    """Adds OpenMP where the compiler has it and the warnings that CI turns into errors."""

    def build_extensions(self):
        flags = ["-std=gnu11", "-O2", "-ffp-contract=off", "-fvisibility=hidden"]
        flags += ["-Wall", "-Wextra", "-Wshadow", "-Wvla"]
        if os.environ.get("GROUPCONV_WERROR") == "1":
            flags.append("-Werror")
        link = []
        if openmp_works(self.compiler.compiler_so[:1]):
            flags.append("-fopenmp")
            link.append("-fopenmp")
        elif os.environ.get("GROUPCONV_REQUIRE_OPENMP") == "1":
            sys.exit("groupconv: GROUPCONV_REQUIRE_OPENMP=1, but a program with -fopenmp does not "
                     "compile, link and run here")
        else:
            warnings.warn("groupconv: no OpenMP here (a program with -fopenmp does not compile, link "
                          "and run); building for one thread", stacklevel=1)
        core = {os.path.abspath(path) for path in C_SOURCES}
        compile_one = self.compiler._compile

        def compile_with_flags(obj, src, ext, cc_args, extra, pp_opts):
            # Cython's own output is not held to our warnings
            ours = os.path.abspath(src) in core
            mine = flags if ours else [f for f in flags if not f.startswith("-W")]
            compile_one(obj, src, ext, cc_args, [*mine, *extra], pp_opts)

        self.compiler._compile = compile_with_flags
        for extension in self.extensions:
            extension.extra_link_args += link
        super().build_extensions()


C_SOURCES = sorted(str(p.relative_to(HERE)) for p in (HERE / SOURCES).rglob("*.c"))
HEADERS = sorted(str(p.relative_to(HERE)) for p in (HERE / SOURCES).rglob("*.h"))

core = Extension(
    "groupconv._core",
    sources=["groupconv/_core.pyx", *C_SOURCES],
    depends=HEADERS,
    include_dirs=[SOURCES, numpy.get_include()],
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
        ("GC_VERSION", f'"{version()}"'),
    ],
    libraries=["m"],
)

setup(
    ext_modules=cythonize(
        core,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
    ),
    cmdclass={"build_ext": Build},
)
