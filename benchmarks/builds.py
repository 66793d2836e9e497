# SPDX-License-Identifier: Apache-2.0
"""Single layers of several builds of fastcnn, in turns:

    python benchmarks/builds.py before=../before now=. --threads 2 predicted:8,14,14,512:1,1,512,512

A build is a source tree compiled in place. A layer is what of it is wanted (predicted, trained,
grad_input, grad_kernel), the sizes N,H,W,C of its input, those of its filters R,S,C,K (of grouped
convolutions C of one group) and, where they are not 1, its strides; padding is "same". Every build
has a process of its own, and a new one for every start, since arrays that come to lie elsewhere
change a layer's time by more than most builds do. The ratio is the median of how much longer the
first build took in the same turn. The FMA peak is measured in turns with the layers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from table import heading, row

SECONDS = 0.03  # that a build has for a layer in one turn


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="+", metavar="NAME=TREE or LAYER")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_intermixed_args()
    trees = dict(text.split("=", 1) for text in options.given if "=" in text)
    layers = [text for text in options.given if "=" not in text]
    if not trees or not layers:
        parser.error(f"found builds {list(trees)} and layers {layers}, expected some of both")
    for layer in layers:
        try:
            parsed(layer)
        except ValueError:
            parser.error(f"found layer '{layer}', expected WANTED:N,H,W,C:R,S,C,K or with :STRIDES")
    found: dict[str, list[Any]] = {name: [] for name in trees}
    for _ in range(options.starts):
        for name, turns in one_start(trees, layers, options.threads, options.turns).items():
            found[name] += turns
    report(found, layers)


def one_start(
    trees: dict[str, str], layers: list[str], threads: int, turns: int
) -> dict[str, list[Any]]:
    """(seconds, share of the peak) of every layer, by build and turn."""
    workers = {name: start(tree, threads, layers) for name, tree in trees.items()}
    found: dict[str, list[Any]] = {name: [] for name in trees}
    try:
        for turn in range(turns):
            for name in list(workers)[:: 1 if turn % 2 else -1]:
                found[name].append(ask(workers[name]))
    finally:
        for worker in workers.values():
            worker.communicate()
    return found


def parsed(layer: str) -> tuple[str, tuple[int, ...], tuple[int, ...], int]:
    """What is wanted, sizes of input and filters, strides."""
    wanted, sizes, filters, *rest = layer.split(":")
    (n, h, w, c), (r, s, depth, k) = (map(int, text.split(",")) for text in (sizes, filters))
    (strides,) = map(int, rest or ["1"])
    return wanted, (n, h, w, c), (r, s, depth, k), strides


def start(tree: str, threads: int, layers: list[str]) -> Any:
    root = Path(tree).resolve()
    path = os.pathsep.join(map(str, (root, root / "benchmarks")))
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import builds; builds.work()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(threads), *layers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd=root,
    )


def ask(worker: Any) -> Any:
    print(file=worker.stdin, flush=True)
    answer = worker.stdout.readline()
    if not answer:
        sys.exit("a build gave no times; what it said stands above")
    return json.loads(answer)


def report(found: dict[str, list[Any]], layers: list[str]) -> None:
    first, *others = found
    heading(
        "layer",
        *(f"{name}: µs, % of the peak" for name in found),
        *(f"{first} ÷ {name}" for name in others),
    )
    for i, layer in enumerate(layers):
        cells = []
        for turns in found.values():
            share = statistics.median(turn[i][1] for turn in turns)
            cells.append(f"{1e6 * min(turn[i][0] for turn in turns):.1f}, {100 * share:.0f}")
        for name in others:
            pairs = zip(found[first], found[name], strict=True)
            cells.append(f"{statistics.median(a[i][0] / b[i][0] for a, b in pairs):.3f}")
        row(layer, *cells)


# --- in the process of one build -----------------------------------------------------------------


def work() -> None:
    """Times all layers whenever a line comes in."""
    import fastcnn
    from fastcnn.backends import isas

    tree, threads, *layers = sys.argv[1:]
    if not Path(fastcnn.__file__).is_relative_to(tree):
        sys.exit(f"found fastcnn in {fastcnn.__file__}, expected it in {tree}; compile it in place")
    fastcnn.set_num_threads(int(threads))
    isa = isas.default_isa()
    plans = [plan_of(layer, isa) for layer in layers]
    for _ in sys.stdin:
        print(json.dumps([measure(*plan, isa, int(threads)) for plan in plans]), flush=True)


def plan_of(layer: str, isa: str) -> tuple[Any, int]:
    """What runs a layer, and its operations: two for each multiply-add of the direct sum."""
    from benchmarks import kernels

    wanted, x, w, strides = parsed(layer)
    use = kernels.Use(kernels.conv(x, w, strides, groups=x[3] // w[2]), wanted)
    kernel, _ = kernels.plan_of_use(use, isa)
    pixels = x[0] * -(-x[1] // strides) * -(-x[2] // strides)
    return kernel.run, 2 * pixels * w[0] * w[1] * w[2] * w[3]


def measure(run: Any, operations: int, isa: str, threads: int) -> tuple[float, float]:
    """Least seconds of a layer, and its share of the peak."""
    from fastcnn.backends import _cpu

    until = time.perf_counter() + SECONDS
    seconds, peak = [], 0.0
    while time.perf_counter() < until:
        begin = time.perf_counter()
        peak = max(peak, _cpu.multiply_adds(isa, 20_000) / (time.perf_counter() - begin))
        for _ in range(2):
            begin = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begin)
    return min(seconds), operations / min(seconds) / peak / threads


if __name__ == "__main__":
    main()
