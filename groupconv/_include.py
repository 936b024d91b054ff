"""Where the C core's header and sources are, for projects that embed it."""

from __future__ import annotations

from pathlib import Path


def get_include() -> str:
    """Return the folder that holds ``groupconv.h``, the C API.

    Returns
    -------
    str
        Absolute path, for a compiler's ``-I`` or ``include_dirs`` of an extension.

    Raises
    ------
    FileNotFoundError
        If the installed package lacks its C sources.

    Examples
    --------
    >>> import pathlib
    >>> import groupconv as gc
    >>> pathlib.Path(gc.get_include(), "groupconv.h").is_file()
    True
    """
    here = Path(__file__).resolve().parent
    # an installed package carries the sources; an editable one and a checkout have them beside it
    for folder in (here / "csrc", here.parent / "src" / "groupconv_c"):
        if (folder / "groupconv.h").is_file():
            return str(folder)
    raise FileNotFoundError(f"groupconv.h is neither in {here / 'csrc'} nor in a checkout's src")


def get_sources() -> list[str]:
    """Return the C files of the core, to be compiled into another extension or program.

    They find their own headers, and need GNU C11 and the math library. Compile them with
    ``-ffp-contract=off``, or results may differ from groupconv's in their last bits; with
    ``-fopenmp``, or everything runs on one thread.

    Returns
    -------
    list of str
        Absolute paths, sorted.

    Raises
    ------
    FileNotFoundError
        If the installed package lacks its C sources.

    Examples
    --------
    >>> import pathlib
    >>> import groupconv as gc
    >>> "plan.c" in {pathlib.Path(source).name for source in gc.get_sources()}
    True
    """
    return sorted(str(path) for path in Path(get_include()).rglob("*.c"))
