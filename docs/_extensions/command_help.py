"""The directive ``{command-help} explain``: what ``groupconv explain --help`` prints."""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

import groupconv
from groupconv.cli import parser


class CommandHelp(Directive):
    """Show the help of one command as a literal block of 88 columns."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        commands = next(action for action in parser()._actions if action.dest == "command").choices
        with mock.patch.dict(os.environ, {"COLUMNS": "88", "NO_COLOR": "1"}):
            text = commands[self.arguments[0]].format_help()
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"version": groupconv.__version__, "parallel_read_safe": True}
