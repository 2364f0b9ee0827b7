"""How long the whole way takes from the click in Slicer to the segmentation in the scene, beside MONAI and MONAI Label.

    mahtai bench --quick                                a phantom, no peers, under a minute
    mahtai bench --cores 2 --output runs/bench          the public sample, all peers
    mahtai bench --cores 2 --cases all --pairs 1        every case of the data folder

Real: a server process, HTTP over loopback, Slicer's scene (slicer-core), the shipped weights. Ours and the peers are
run in turn (A B C, A B C) on the same cores, each of them warm; each ratio is made of the two runs of one round. Every
ratio stands beside the Dice of what the two made. Written into the output folder: bench.json, bench.txt, bench.png.

Peers: `monai` runs the bundle's inference.json as it comes, in fp32 on a CPU; `monai_one_window` the same with the
model zoo's larger window, which computes less; `monailabel` is MONAI Label 0.8.5 in an environment of its own, which is
made once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PEERS = ("monai", "monai_one_window", "monailabel")


def parse(arguments: list[str]) -> argparse.Namespace:
    """What is asked for; quick runs leave out all that takes long."""
    parser = argparse.ArgumentParser(
        prog="mahtai bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--cores", type=int, help="CPU cores for all together (default: all that may be used)")
    parser.add_argument(
        "--cases", default="sample", help="sample, all, or names in data/brats, comma-separated (default sample)"
    )
    parser.add_argument("--pairs", type=int, default=3, help="rounds for each case (default 3)")
    parser.add_argument("--against", default=",".join(PEERS), help=f"peers, of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument("--no-starts", action="store_true", help="leave out the cold starts")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="for all runs of ours")
    parser.add_argument(
        "--other-option", default="check_sequences=off", metavar="NAME=VALUE", help="of the kind `option`"
    )
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between choosing a study and the click")
    parser.add_argument("--monailabel-env", type=Path, help="folder of MONAI Label's environment (default: user cache)")
    parser.add_argument(
        "--monailabel-window", type=_window, metavar="X,Y,Z", help="its sliding window (default: the model zoo's)"
    )
    parser.add_argument("--output", type=Path, default=Path("mahtai-bench"), help="folder (default mahtai-bench)")
    parser.add_argument("--quick", action="store_true", help="a small phantom, one round, no peers, no starts")
    asked = parser.parse_args(arguments)
    asked.peers = [] if asked.no_peers or asked.quick else [name.strip() for name in asked.against.split(",")]
    unknown = sorted(set(asked.peers) - set(PEERS))
    if unknown:
        parser.error(f"there is no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if asked.pairs < 1 or (asked.cores is not None and asked.cores < 1):
        parser.error("--pairs and --cores take a number from 1")
    if asked.quick:
        asked.pairs, asked.no_starts, asked.pause = 1, True, min(asked.pause, 1.0)
    return asked


def _window(text: str) -> tuple[int, ...]:
    sides = tuple(int(side) for side in text.split(","))
    if len(sides) != 3 or min(sides) < 1:
        raise ValueError(text)
    return sides


def main(arguments: list[str]) -> int:
    """Measure; returns 1 if a peer that was asked for did not run."""
    asked = parse(arguments)
    from speed.machine import pin

    pinned = pin(asked.cores)
    from speed.session import measure

    from mahtai.errors import MahtaiError

    try:
        return measure(asked, pinned)
    except MahtaiError as error:
        print(f"{error.reason}\nWhat to do: {error.hint}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
