"""Convolve an array that is larger than all workers' memory together, on a cluster of processes.

    pip install 'groupconv[dask]'
    python examples/dask_large.py --gib 4 --workers 2 --memory-mib 700

A picture of many channels (say, a mosaic of satellite bands) is made piece by piece, convolved with
groups, and reduced to each channel's mean and peak. No process ever holds more than a few
pieces: dask hands them out, groupconv reads the cells around a piece that its kernel reaches.
A strip across the border of two pieces is compared, bit for bit, with one call on that strip.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import groupconv
import groupconv.interop.dask as gd

CHANNELS, PIECE, REACH = 32, 256, 2
# The algorithm is named so that a strip on its own gets the one that the whole gets.
OPTIONS = {"groups": 8, "algorithm": "direct"}


def noise(block_info: dict[Any, Any]) -> np.ndarray:
    """One piece of the picture: a hash of each cell's position, as a number from -1 to 1."""
    location = block_info[None]["array-location"]
    channel, row, column = np.ogrid[tuple(slice(*bounds) for bounds in location)]
    mixed = (channel * 2654435761 ^ row * 2246822519 ^ column * 3266489917).astype(np.uint32)
    mixed = (mixed ^ mixed >> 15) * np.uint32(2246822519)
    return mixed.astype(np.float32) / np.float32(2**31) - 1


def picture(size: int) -> da.Array:
    """A float32 picture of CHANNELS x size x size whose pieces are made where they are used."""
    sides = (PIECE,) * (size // PIECE)
    return da.map_blocks(noise, chunks=((CHANNELS,), sides, sides), dtype=np.float32)


def strip_of(x: da.Array, lazy: da.Array) -> tuple[da.Array, da.Array]:
    """Outputs across a border of pieces, at the picture's left edge; the cells they are made of."""
    rows = slice(PIECE - 4, PIECE + 4)
    reach = slice(rows.start - REACH, rows.stop + REACH)
    return lazy[:, rows, : PIECE - REACH], x[:, reach, :PIECE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=2.0, help="size of the array (default 2)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--memory-mib", type=int, default=600, help="limit of each (default 600)")
    args = parser.parse_args()

    size = math.ceil(math.sqrt(args.gib * 2**30 / (4 * CHANNELS)) / PIECE) * PIECE
    rng = np.random.default_rng(0)
    kernel = (2 * REACH + 1,) * 2
    weight = rng.standard_normal((CHANNELS, CHANNELS // OPTIONS["groups"], *kernel), np.float32)
    bias = rng.standard_normal(CHANNELS, np.float32)

    x = picture(size)
    lazy = gd.conv2d(x, weight, bias, padding=REACH, **OPTIONS)
    pieces = f"array {x.nbytes / 2**20:.0f} MiB in {x.npartitions} pieces"
    print(f"{pieces}, {args.workers} workers of {args.memory_mib} MiB each")
    cluster = LocalCluster(
        n_workers=args.workers,
        threads_per_worker=1,
        memory_limit=f"{args.memory_mib}MiB",
        dashboard_address=None,
    )
    with cluster, Client(cluster):
        start = time.perf_counter()
        means, peaks, found, cells = dask.compute(
            lazy.mean(axis=(1, 2)), abs(lazy).max(axis=(1, 2)), *strip_of(x, lazy)
        )
        print(f"convolved and reduced in {time.perf_counter() - start:.1f} s")
    print(f"means of the channels {means.min():.4f} .. {means.max():.4f}")
    print(f"largest output {peaks.max():.2f}")
    expected = groupconv.conv2d(cells, weight, bias, padding=((0, 0), (REACH, 0)), **OPTIONS)
    if not np.array_equal(expected, found):
        raise SystemExit("the pieces differ from one call")
    print("a strip across a border of pieces: the same bits as one call")


if __name__ == "__main__":
    main()
