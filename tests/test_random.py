"""Problems that nobody thought of: every argument drawn by hypothesis."""

from __future__ import annotations

from helpers import (
    FLOATS,
    HALVES,
    LAYOUTS,
    Case,
    assert_within,
    exact,
    function,
    gradient,
    guarded,
    place,
    units_for,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import groupconv as gc
from groupconv import reference

MODES = ["zeros", "reflect", "replicate", "circular"]
REACH = {"zeros": 9, "reflect": -1, "replicate": 9, "circular": 0}


@st.composite
def cases(draw: st.DrawFn, transposed: bool = False) -> Case:
    ndim = draw(st.integers(1, 3))
    longest = {1: 70, 2: 18, 3: 7}[ndim]
    size = tuple(draw(st.integers(1, longest)) for _ in range(ndim))
    mode = "zeros" if transposed else draw(st.sampled_from(MODES))

    def border(cells: int) -> int:
        most = REACH[mode] if REACH[mode] > 0 else cells + REACH[mode]
        return draw(st.integers(0, min(most, 9)))

    def per_axis(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(least, most)) for _ in range(ndim))

    stride, dilation = per_axis(1, 4), per_axis(1, 3)
    case = Case(
        size,
        per_axis(1, 7 if ndim < 3 else 3),
        groups=draw(st.integers(1, 6)),
        in_per_group=draw(st.integers(1, 7)),
        out_per_group=draw(st.integers(1, 10)),
        batch=draw(st.integers(1, 3)),
        stride=stride,
        dilation=dilation,
        padding=[(border(cells), border(cells)) for cells in size],
        padding_mode=mode,
    )
    if transposed:
        extra = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
        case = case.but(output_padding=tuple(draw(st.integers(0, most)) for most in extra))
        assume(min(case.transposed_out_size) > 0)
    else:
        assume(min(case.out_size) > 0)
    return case


dtypes = st.sampled_from([*FLOATS, *HALVES])
layouts = st.sampled_from(sorted(LAYOUTS))


@settings(max_examples=300)
@given(cases(), dtypes, layouts, layouts, st.booleans(), st.booleans())
def test_convolution(case, dtype, layout, out_layout, with_bias, with_residual) -> None:
    x, w, b = case.arrays(dtype)
    shape = (case.batch, case.out_channels, *case.out_size)
    options = {"bias": b} if with_bias else {}
    if with_residual:
        options["residual"] = place(case.draw("residual", shape, dtype), layout)
    with guarded(shape, dtype, out_layout) as out:
        function("conv", case.ndim)(place(x, layout), w, **options, **case.arguments, out=out)
    want = exact(reference.conv, x, w, **options, **case.arguments)
    bound = reference.error_bound(reference.conv, x, w, **options, **case.arguments)
    assert_within(out, want, bound, units_for(*w.shape[1:]))


@settings(max_examples=200)
@given(cases(transposed=True), dtypes, layouts, layouts, st.booleans())
def test_transposed(case, dtype, layout, out_layout, with_residual) -> None:
    x, w, b = case.transposed_arrays(dtype)
    shape = (case.batch, case.out_channels, *case.transposed_out_size)
    options = case.transposed_arguments
    if with_residual:
        options["residual"] = place(case.draw("residual", shape, dtype), layout)
    with guarded(shape, dtype, out_layout) as out:
        function("conv_transpose", case.ndim)(place(x, layout), w, b, **options, out=out)
    want = exact(reference.conv_transpose, x, w, b, **options)
    bound = reference.error_bound(reference.conv_transpose, x, w, b, **options)
    assert_within(out, want, bound, units_for(case.in_per_group, *case.kernel))


@settings(max_examples=200)
@given(cases(), dtypes, layouts, layouts)
def test_gradients(case, dtype, layout, out_layout) -> None:
    x, w, _ = case.arrays(dtype)
    g = case.draw("gradient", (case.batch, case.out_channels, *case.out_size), dtype)
    x, g = place(x, layout), place(g, layout)
    for of, operands, shape, terms in (
        ("input", (x.shape, w, g), x.shape, ()),
        ("weight", (x, w.shape, g), w.shape, (case.batch, *case.out_size)),
    ):
        with guarded(shape, dtype, out_layout) as out:
            gradient("conv", case.ndim, of)(*operands, **case.arguments, out=out)
        operation = getattr(reference, f"conv_{of}")
        want = exact(operation, *operands, **case.arguments)
        bound = reference.error_bound(operation, *operands, **case.arguments)
        assert_within(out, want, bound, units_for(*terms) if terms else 64)


@settings(max_examples=150)
@given(cases(transposed=True), dtypes, layouts, layouts)
def test_transposed_gradients(case, dtype, layout, out_layout) -> None:
    x, w, _ = case.transposed_arrays(dtype)
    g = case.draw("gradient", (case.batch, case.out_channels, *case.transposed_out_size), dtype)
    x, g = place(x, layout), place(g, layout)
    arguments = case.transposed_arguments
    for of, operands, shape, terms in (
        ("input", (x.shape, w, g), x.shape, (case.out_per_group, *case.kernel)),
        ("weight", (x, w.shape, g), w.shape, (case.batch, *case.size)),
    ):
        with guarded(shape, dtype, out_layout) as out:
            gradient("conv_transpose", case.ndim, of)(*operands, **arguments, out=out)
        operation = getattr(reference, f"conv_transpose_{of}")
        want = exact(operation, *operands, **arguments)
        bound = reference.error_bound(operation, *operands, **arguments)
        assert_within(out, want, bound, units_for(*terms))


@settings(max_examples=150)
@given(cases(), st.integers(1, 4), st.data())
def test_parts_of_a_batch_and_threads_give_the_same_bits(case, threads, data) -> None:
    x, w, b = case.arrays()
    conv = function("conv", case.ndim)
    with gc.num_threads(1):
        whole = conv(x, w, b, **case.arguments)
    image = data.draw(st.integers(0, case.batch - 1))
    with gc.num_threads(threads):
        part = conv(x[image : image + 1], w, b, **case.arguments)
    assert part.tobytes() == whole[image : image + 1].tobytes()
