"""Sphinx configuration: ``sphinx-build -W -b html docs docs/_build/html``."""

import pathlib
import sys

import groupconv

sys.path.insert(0, str(pathlib.Path(__file__).parent / "_extensions"))

project = "groupconv"
author = "the groupconv developers"
copyright = author
version = release = groupconv.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "command_help",
    "pictures",
    "measurements",
]
exclude_patterns = ["_build", "_extensions"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings name every type in words
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes that are properties too are described once
default_role = "literal"

html_theme = "furo"
html_title = f"groupconv {release}"
html_theme_options = {"navigation_with_keys": True}
