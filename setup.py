"""Builds the one extension module, and gives the C sources a place in the package.

Everything else about the package is in pyproject.toml. Environment variables:

GROUPCONV_REQUIRE_OPENMP=1   a compiler without OpenMP is an error instead of a warning
GROUPCONV_WERROR=1           warnings of the C compiler are errors
CFLAGS                       flags of the C compiler that come after ours: -O0 builds in a minute
"""

import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor

import Cython  # noqa: F401  (without it, setuptools would look for a C file in place of _core.pyx)
import numpy
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = pathlib.Path(__file__).parent
C_CORE = "src/groupconv_c"
C_PACKAGE = "groupconv.csrc"
FLAGS = ["-std=gnu11", "-O2", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wvla"]
# passes that take GCC a quarter of its time and find nothing in kernels of vector instructions
LEAN = ["-fno-tree-pre", "-fno-tree-pta", "-fno-tree-vrp", "-fno-tree-slp-vectorize"]
PROBE = "int main(void) { return 0; }"
OPENMP_PROBE = """
#include <omp.h>
int main(void) {
    int threads = 0;
#pragma omp parallel num_threads(2) reduction(+ : threads)
    threads += 1;
    return threads > 0 && omp_get_max_threads() > 0 ? 0 : 1;
}
"""


def core_files(pattern):
    """Paths of the C core's files, from the root, as setuptools wants them."""
    return sorted(path.relative_to(HERE).as_posix() for path in (HERE / C_CORE).rglob(pattern))


def works(compiler, text, *flags):
    """Whether a program compiles with such flags, links and runs."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = pathlib.Path(folder, "probe.c"), pathlib.Path(folder, "probe")
        source.write_text(text)
        command = [*compiler, *flags, str(source), "-o", str(program)]
        try:
            subprocess.run(command, check=True, capture_output=True)
            subprocess.run([program], check=True, capture_output=True, timeout=20)
        except (OSError, subprocess.SubprocessError):
            return False
    return True


def openmp_flags(compiler):
    """Return the flags that OpenMP takes: none, with a warning or an error, where it is missing."""
    if works(compiler, OPENMP_PROBE, "-fopenmp"):
        return ["-fopenmp"]
    missing = "no OpenMP here (a program with -fopenmp does not compile, link and run)"
    if os.environ.get("GROUPCONV_REQUIRE_OPENMP") == "1":
        sys.exit(f"groupconv: GROUPCONV_REQUIRE_OPENMP=1, but {missing}")
    warnings.warn(f"groupconv: {missing}; building for one thread", stacklevel=2)
    return []


class Build(build_ext):
    """Adds OpenMP where the compiler has it, and holds the C core to our warnings."""

    def finalize_options(self):
        super().finalize_options()
        self.cython_c_in_temp = True  # the sources stay free of generated ones

    def build_extensions(self):
        openmp = openmp_flags(self.compiler.compiler_so)
        lean = LEAN if works(self.compiler.compiler_so, PROBE, "-Werror", *LEAN) else []
        strict = ["-Werror"] if os.environ.get("GROUPCONV_WERROR") == "1" else []
        user = shlex.split(os.environ.get("CFLAGS", ""))
        ours = {os.path.abspath(path) for path in core_files("*.c")}
        compile_one = self.compiler._compile

        def compile_with_flags(obj, source, ext, arguments, extra, options):
            # what Cython writes is not held to our warnings
            held = [*WARNINGS, *strict] if os.path.abspath(source) in ours else []
            kernels = lean if os.path.basename(source).startswith("isa_") else []
            flags = [*FLAGS, *kernels, *openmp, *held, *extra, *user]
            compile_one(obj, source, ext, arguments, flags, options)

        def compile_together(sources, debug=0, **options):
            # the instruction sets' kernels take longest: first, and each on a core of its own
            names = "output_dir", "macros", "include_dirs", "depends", "extra_postargs"
            outdir, macros, include, depends, extra = (options.get(name) for name in names)
            _, objects, extra, pp_opts, build = self.compiler._setup_compile(
                outdir, macros, include, sources, depends, extra
            )
            cc_args = self.compiler._get_cc_args(pp_opts, debug, None)

            def compile_object(obj):
                source, ext = build[obj]
                compile_with_flags(obj, source, ext, cc_args, extra, pp_opts)

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(compile_object, sorted(build, key=lambda o: "isa_" not in o)))
            return objects

        self.compiler.compile = compile_together
        version = self.distribution.get_version()
        for extension in self.extensions:
            extension.define_macros.append(("GC_VERSION", f'"{version}"'))
            extension.extra_link_args += openmp
        super().build_extensions()


core = Extension(
    "groupconv._core",
    sources=["groupconv/_core.pyx", *core_files("*.c")],
    depends=core_files("*.h"),
    include_dirs=[C_CORE, numpy.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
    libraries=["m"],
)
core.cython_directives = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}

c_folders = {pathlib.PurePath(path).parent for path in core_files("*.[ch]")}
c_packages = [".".join((C_PACKAGE, *f.relative_to(C_CORE).parts)) for f in sorted(c_folders)]

setup(
    ext_modules=[core],
    cmdclass={"build_ext": Build},
    packages=[*find_packages(include=["groupconv", "groupconv.*"]), *c_packages],
    package_dir={C_PACKAGE: C_CORE},
    package_data={
        "groupconv": ["py.typed", "*.pyi"],
        **{package: ["*.c", "*.h"] for package in c_packages},
    },
)
