"""Connections: what they say agrees with what a convolution does, and every drawing shows it."""

from __future__ import annotations

import itertools
import pickle
import re
import sys
from dataclasses import FrozenInstanceError
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupconv import _scene, reference
from groupconv._drawing import draw
from groupconv.connections import Connections, connections, valid_groups

# in_channels, out_channels, groups -> weight shape and weights with a 5x5 kernel
ARTICLE = [
    (3, 3, 1, (3, 3, 5, 5), 225),
    (8, 4, 4, (4, 2, 5, 5), 200),
    (8, 4, 2, (4, 4, 5, 5), 400),
    (4, 8, 4, (8, 1, 5, 5), 200),
    (4, 8, 2, (8, 2, 5, 5), 400),
    (4, 4, 4, (4, 1, 5, 5), 100),
    (4, 4, 2, (4, 2, 5, 5), 200),
]
PICTURED = [
    connections(3, 3, 1, 5),
    connections(8, 4, 4, 5),
    connections(4, 8, 2, (5,)),
    connections(12, 24, 12, (3, 3, 3)),
    connections(64, 64, 1, 3),
    connections(64, 32, 16, 1),
    connections(60, 40, 20, (1, 7), transposed=True),
    connections(63, 1, 1, 3, bias=False),
    connections(1, 64, 1, 31),
    connections(256, 256, 32, 3),
    connections(1024, 2048, 1024, 3),
    connections(100_000, 100_000, 1, 1),
]
SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def some_connections(draw: st.DrawFn, most: int = 6) -> Connections:
    groups, i, o = (draw(st.integers(1, most)) for _ in range(3))
    kernel = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    flags = {"bias": draw(st.booleans()), "transposed": draw(st.booleans())}
    return connections(groups * i, groups * o, groups, kernel, **flags)


@pytest.fixture(autouse=True)
def without_a_screen() -> None:
    plt.switch_backend("agg")


def identify(value: Any) -> str:
    if isinstance(value, Connections):
        size = f"{value.in_channels}to{value.out_channels}"
        return f"{size}-groups{value.groups}-{len(value.kernel_size)}d"
    return str(value)


@pytest.mark.parametrize(("inputs", "outputs", "groups", "weight_shape", "weights"), ARTICLE)
def test_cases_of_the_article(
    inputs: int, outputs: int, groups: int, weight_shape: tuple[int, ...], weights: int
) -> None:
    c = connections(in_channels=inputs, out_channels=outputs, groups=groups, kernel_size=5)
    assert c.weight_shape == weight_shape
    assert c.bias_shape == (outputs,)
    assert c.weights == weights
    assert c.parameters == weights + outputs
    assert c.dense_parameters == inputs * outputs * 25 + outputs


@given(some_connections())
def test_paths_are_what_a_convolution_connects(c: Connections) -> None:
    """Input channel i feeds output channel o exactly if a change of i shows in o."""
    operation = reference.conv_transpose if c.transposed else reference.conv
    weight = np.ones(c.weight_shape)
    for channel in range(c.in_channels):
        x = np.zeros((c.in_channels, *c.kernel_size))
        x[channel] = 1
        changed = operation(x, weight, groups=c.groups).any(axis=tuple(range(1, x.ndim)))
        assert list(c.outputs_of(channel)) == list(np.flatnonzero(changed))
        assert all(channel in c.inputs_of(output) for output in c.outputs_of(channel))


@given(some_connections())
def test_paths_share_nothing_and_leave_nothing_out(c: Connections) -> None:
    paths = c.paths()
    assert [path.group for path in paths] == list(range(c.groups))
    assert [i for path in paths for i in path.inputs] == list(range(c.in_channels))
    assert [o for path in paths for o in path.outputs] == list(range(c.out_channels))
    for path in paths:
        assert all(c.outputs_of(i) == path.outputs for i in path.inputs)
        assert all(c.inputs_of(o) == path.inputs for o in path.outputs)


@given(some_connections(), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2))
def test_macs_are_the_products_of_the_definition(
    c: Connections, stride: int, dilation: int, batch: int
) -> None:
    """With ones everywhere and no padding each product adds 1 to the sum of all outputs."""
    size = tuple(dilation * (k - 1) + 3 for k in c.kernel_size)
    x, weight = np.ones((batch, c.in_channels, *size)), np.ones(c.weight_shape)
    operation = reference.conv_transpose if c.transposed else reference.conv
    result = operation(x, weight, stride=stride, dilation=dilation, groups=c.groups)
    assert c.macs(x.shape, stride, dilation=dilation) == result.sum()
    assert c.output_shape(x.shape, stride, dilation=dilation) == result.shape
    assert c.macs(size, stride, 0, dilation) == c.macs(x.shape[1:], stride, 0, dilation)
    assert c.output_shape(size, stride, 0, dilation) == result.shape[1:]


def test_macs_count_taps_on_padding() -> None:
    c = connections(8, 4, 4, 5)
    assert c.macs(224, padding="same") == 4 * 2 * 25 * 224**2
    assert c.macs((1, 8, 224, 224), padding=2) == c.macs(224, padding=((2, 2), (2, 2)))
    assert c.macs((16, 8, 224, 224), padding=2) == 16 * c.macs(224, padding=2)


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "kind"),
    [
        (8, 4, 1, "dense"),
        (8, 4, 4, "grouped"),
        (8, 8, 8, "depthwise"),
        (8, 16, 8, "depthwise"),
        (1, 16, 1, "dense"),
    ],
)
def test_kind(inputs: int, outputs: int, groups: int, kind: str) -> None:
    assert connections(inputs, outputs, groups).kind == kind


def test_transposed_and_without_bias() -> None:
    c = connections(8, 12, 4, (3, 5), bias=False, transposed=True)
    assert c.weight_shape == (8, 3, 3, 5)
    assert c.filter_shape == (2, 3, 5)
    assert c.bias_shape is None
    assert c.parameters == 8 * 3 * 15
    assert c.dense_parameters == 8 * 12 * 15


@pytest.mark.parametrize(
    ("inputs", "outputs"), [(8, 4), (1, 1), (7, 5), (36, 48), (512, 512), (30030, 2310)]
)
def test_valid_groups_are_the_common_divisors(inputs: int, outputs: int) -> None:
    common = [g for g in range(1, inputs + 1) if inputs % g == 0 and outputs % g == 0]
    assert valid_groups(inputs, outputs) == common


def test_a_value_like_any_other() -> None:
    c = connections(np.int64(8), 4, np.int32(4), (np.int64(5), 5))
    assert c == connections(8, 4, 4, 5) == pickle.loads(pickle.dumps(c))
    assert c != connections(8, 4, 2, 5)
    assert len({c, connections(8, 4, 4, (5, 5))}) == 1
    assert eval(repr(c)) == c
    assert all(type(number) is int for number in c.weight_shape)
    with pytest.raises(FrozenInstanceError):
        c.groups = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((8, 4, 3, 5), ValueError, r"groups=3 .*8 .*4 .*valid groups: 1, 2, 4"),
        ((0, 4), ValueError, r"in_channels must be at least 1, got 0"),
        ((8, -4), ValueError, r"out_channels must be at least 1, got -4"),
        ((8, 4, 0), ValueError, r"groups must be at least 1, got 0"),
        ((8, 4, 2.0), TypeError, r"groups must be an int, got 2.0"),
        ((8, 4, True), TypeError, r"groups must be an int, got True"),
        (("8", 4), TypeError, r"in_channels must be an int, got '8'"),
        ((8, 4, 2, 0), ValueError, r"kernel_size must be at least 1, got 0"),
        ((8, 4, 2, ()), ValueError, r"kernel_size must have 1, 2 or 3 dimensions, got \(\)"),
        ((8, 4, 2, (3, 3, 3, 3)), ValueError, r"kernel_size must have 1, 2 or 3 dimensions"),
        ((8, 4, 2, 3.5), TypeError, r"kernel_size must be an int or .*, got 3.5"),
    ],
)
def test_wrong_connections(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        connections(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), TypeError, "input_size"),
        (((4, 9, 9),), ValueError, r"input_size must have 8 channels, got shape \(4, 9, 9\)"),
        (((1, 4, 9, 9),), ValueError, r"must have 8 channels, got shape \(1, 4, 9, 9\) with 4"),
        (((9, 9, 9, 9, 9),), ValueError, r"input_size of conv2d must have 4 dimensions"),
        (((9, 0),), ValueError, r"input_size must be at least 1"),
        ((4,), ValueError, r"kernel size \(5, 5\)"),
        ((9, 0), ValueError, r"stride must be at least 1, got 0"),
        ((9, 1, -1), ValueError, r"padding must be at least 0, got -1"),
        ((9.0,), TypeError, r"input_size must be a tuple of ints"),
    ],
)
def test_wrong_input_sizes(arguments: Any, error: type[Exception], message: str) -> None:
    c = connections(8, 4, 4, 5)
    for method in (c.macs, c.output_shape):
        with pytest.raises(error, match=message):
            method(*arguments)


def test_wrong_channels_and_flags() -> None:
    c = connections(8, 4, 4, 5)
    for method, name, last in ((c.inputs_of, "output", 3), (c.outputs_of, "input", 7)):
        assert len(method(last)) > 0
        with pytest.raises(IndexError, match=f"{name} must be from 0 to {last}, got {last + 1}"):
            method(last + 1)
        with pytest.raises(ValueError, match=f"{name} must be at least 0, got -1"):
            method(-1)
        with pytest.raises(TypeError, match=f"{name} must be an int, got 1.0"):
            method(1.0)
    with pytest.raises(TypeError, match="bias must be True or False, got 1"):
        connections(8, 4, bias=1)
    with pytest.raises(TypeError, match="in_channels must be an int, got None"):
        valid_groups(None, 4)


def test_text_of_the_first_case() -> None:
    assert str(connections(8, 4, 2, 5)).splitlines() == [
        "conv2d, 8 → 4 channels, groups=2 (grouped), kernel 5×5",
        "weight (4, 4, 5, 5), bias (4,): 404 parameters; dense 804, 1.99 times as many",
        "",
        "in 0 ─┬─ 2 × (4, 5, 5) ─┬─ out 0",
        "in 1 ─┤                 └─ out 1",
        "in 2 ─┤",
        "in 3 ─┘",
        "",
        "in 4 ─┬─ 2 × (4, 5, 5) ─┬─ out 2",
        "in 5 ─┤                 └─ out 3",
        "in 6 ─┤",
        "in 7 ─┘",
    ]


def test_text_of_many_paths_loses_their_middle() -> None:
    lines = str(connections(1024, 1024, 1024, (3,))).splitlines()
    assert len(lines) < 20
    assert "in    0 ── (1, 3) ── out 0" in lines
    assert "  ⋮  1012 more paths like these" in lines
    assert lines[-1] == "in 1023 ── (1, 3) ── out 1023"


@given(some_connections(most=8))
def test_text_shows_every_channel_in_its_path(c: Connections) -> None:
    blocks = _text_blocks(draw(c), c)
    assert len(blocks) == c.groups
    columns = set()
    for path, lines in zip(c.paths(), blocks, strict=True):
        assert [int(n) for line in lines for n in re.findall(r"^in +(\d+)", line)] == [*path.inputs]
        assert [int(n) for line in lines for n in re.findall(r"out +(\d+)", line)] == [
            *path.outputs
        ]
        assert str(c.filter_shape) in lines[0]
        columns |= {line.index("out") for line in lines if "out" in line}
    assert len(columns) == 1


def _text_blocks(text: str, c: Connections) -> list[list[str]]:
    """Lines of each path, without the heading."""
    body = text.split("\n\n", 1)[1]
    if c.in_per_group == c.out_per_group == 1:
        return [[line] for line in body.splitlines()]
    return [block.splitlines() for block in body.split("\n\n")]


@pytest.mark.parametrize("c", PICTURED, ids=identify)
def test_text_fits_a_terminal(c: Connections) -> None:
    lines = str(c).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 2 + 64 + 64
    ascii = draw(c, ascii=True)
    assert ascii.isascii()
    assert len(ascii.splitlines()) == len(lines)
    assert re.sub(r"\x1b\[\d+m", "", draw(c, color=True)) == draw(c)


def test_colors_of_paths_differ() -> None:
    colors = [_scene.path_color(group) for group in range(64)]
    assert len(set(colors)) == 64
    assert all(re.fullmatch("#[0-9a-f]{6}", _scene.tint(color)) for color in colors)


@pytest.mark.parametrize("c", PICTURED, ids=identify)
def test_svg_shows_every_channel(c: Connections) -> None:
    root = ElementTree.fromstring(c.to_svg())
    assert root.tag == f"{SVG}svg"
    assert c._repr_svg_() == c.to_svg()
    texts = [element.text for element in root.iter(f"{SVG}text")]
    if max(c.in_channels, c.out_channels) <= 64:
        for channel in range(64):
            shown = (channel < c.in_channels) + (channel < c.out_channels)
            assert texts.count(str(channel)) == shown
    labels = [text for text in texts if text is not None and text.endswith(str(c.filter_shape))]
    assert labels
    assert len(c.to_svg()) < 200_000


@pytest.mark.parametrize("c", [c for c in PICTURED if c.in_channels <= 16], ids=identify)
def test_lines_have_the_colour_of_their_path(c: Connections) -> None:
    """One line from each input to each filter of its path and one from each filter on."""
    curves = [shape for shape in _scene.scene(c).shapes if isinstance(shape, _scene.Curve)]
    for path in c.paths():
        mine = [curve for curve in curves if curve.color == _scene.path_color(path.group)]
        assert len(mine) == len(path.inputs) * len(path.outputs) + len(path.outputs)
    assert len({curve.color for curve in curves}) == c.groups


@pytest.mark.parametrize("c", PICTURED, ids=identify)
def test_svg_stays_on_its_paper(c: Connections) -> None:
    root = ElementTree.fromstring(c.to_svg())
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    for rectangle in itertools.islice(root.iter(f"{SVG}rect"), 1, None):
        x, y, w, h = (float(rectangle.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height


@pytest.mark.parametrize("c", PICTURED, ids=identify)
def test_plot_is_readable(c: Connections) -> None:
    """As rendered, no text covers another or leaves the figure."""
    figure = c.plot()
    try:
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    finally:
        plt.close(figure)
    paper = figure.bbox
    assert len(boxes) > 5
    assert all(paper.x0 <= b.x0 and b.x1 <= paper.x1 for b in boxes)
    assert all(paper.y0 <= b.y0 and b.y1 <= paper.y1 for b in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_plot_into_given_axes_scales_its_text() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4))
    try:
        c = connections(8, 4, 4, 5)
        assert c.plot(left) is figure
        sizes = {text.get_fontsize() for text in left.texts}
        assert max(sizes) < 12
        assert not right.texts
        extent = left.get_window_extent()
        figure.canvas.draw()
        for text in left.texts:
            box = text.get_window_extent()
            assert extent.x0 - 1 <= box.x0 <= box.x1 <= extent.x1 + 1
    finally:
        plt.close(figure)


def test_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delitem(sys.modules, "groupconv._plot", raising=False)
    c = connections(8, 4, 4, 5)
    with pytest.raises(ImportError, match=re.escape("pip install 'groupconv[plot]'")):
        c.plot()
    assert c.to_svg().startswith("<svg")
