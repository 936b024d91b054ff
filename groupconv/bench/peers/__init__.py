"""The contenders, in the order of the table's columns.

A new one is a module with a subclass of :class:`Peer`, and a line here.
"""

from __future__ import annotations

from groupconv.bench.peers.base import Contender, Peer
from groupconv.bench.peers.groupconv import Groupconv, GroupconvChannelsLast
from groupconv.bench.peers.litert import LiteRT
from groupconv.bench.peers.mnn import MNN
from groupconv.bench.peers.ncnn import NCNN
from groupconv.bench.peers.onnxruntime import ONNXRuntime
from groupconv.bench.peers.openvino import OpenVINO
from groupconv.bench.peers.torch import Torch, TorchChannelsLast

__all__ = ["OURS", "PEERS", "Contender", "Peer", "choose"]

OURS: tuple[Peer, ...] = (Groupconv(), GroupconvChannelsLast())

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Torch(),
        TorchChannelsLast(),
        ONNXRuntime(),
        OpenVINO(),
        NCNN(),
        MNN(),
        LiteRT(),
    )
}


def choose(names: str | None) -> tuple[Peer, ...]:
    """The peers a command line asks for.

    Parameters
    ----------
    names : str or None
        Names separated by commas. None means whatever is installed; an empty string nobody.

    Returns
    -------
    tuple of Peer

    Raises
    ------
    ValueError
        If a name is unknown, or a peer asked for by name is not installed.
    """
    if names is None:
        return tuple(peer for peer in PEERS.values() if peer.installed())
    chosen = []
    for name in filter(None, (name.strip() for name in names.split(","))):
        if name not in PEERS:
            raise ValueError(f"{name!r} is no peer; the peers are {', '.join(PEERS)}")
        if not PEERS[name].installed():
            raise ValueError(
                f"{name} is not installed: pip install {PEERS[name].distribution}, "
                "or pip install 'groupconv[bench]' for all peers"
            )
        chosen.append(PEERS[name])
    return tuple(chosen)
