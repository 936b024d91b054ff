"""The directive ``{connections} 8 4 groups=4 kernel=5``: the library's own picture of it."""

from __future__ import annotations

import pathlib
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

import groupconv

FOLDER = "_build/pictures"


class ConnectionsPicture(Directive):
    """Draw connections as SVG into the sources' folder of pictures and show the file.

    The two arguments are the channels of input and output; ``groups``, ``kernel`` (sizes with
    commas) and ``transposed`` follow as ``name=value``.
    """

    required_arguments = 2
    optional_arguments = 3
    has_content = False

    def run(self) -> list[nodes.Node]:
        inputs, outputs, *rest = self.arguments
        settings = dict(setting.split("=") for setting in rest)
        kernel = tuple(int(size) for size in settings.get("kernel", "1").split(","))
        connections = groupconv.connections(
            int(inputs),
            int(outputs),
            int(settings.get("groups", "1")),
            kernel if len(kernel) > 1 else kernel[0],
            transposed=settings.get("transposed") == "yes",
        )
        environment = self.state.document.settings.env
        name = "-".join(self.arguments).replace("=", "").replace(",", "x") + ".svg"
        path = pathlib.Path(environment.srcdir, FOLDER, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(connections.to_svg(), encoding="utf-8")
        alternative = str(connections).splitlines()[0]
        return [nodes.image(uri=f"/{FOLDER}/{name}", alt=alternative, align="center")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("connections", ConnectionsPicture)
    return {"version": groupconv.__version__, "parallel_read_safe": True}
