"""Sweeps against separate runs: time, equality and memory.

    python experiments/bench_sweeps.py surface --data wiki --root FOLDER   81 points of alpha x beta, DCGH, 32 bits
    python experiments/bench_sweeps.py surface --data synthetic:M --memory 8
    python experiments/bench_sweeps.py seeds --data wiki --root FOLDER     15 seeds of AAH and of DCGH, 32 bits

Separate runs are warm `jaxcmh.train` and two `jaxcmh.evaluate` (learned and encoded database): `--singles` of them,
evenly spread over the points, are timed and their mean time is multiplied by the number of points.  A sweep is
timed after a smaller one of the same shapes, which compiles.  Times are of the wall, and of the processor (all
threads), which other programs on the machine disturb less.  Seeds of AAH share everything; those of DCGH have anchors
of their own, so that only their bits and hyper-parameters could share features.

Lines go to experiments/results/bench_sweeps.jsonl, the last of each kind and data set.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import jaxcmh
from jaxcmh import studies
from jaxcmh.results import environment
from jaxcmh.studies import lanes, runs

RESULTS = Path(__file__).parent / "results" / "bench_sweeps.jsonl"


def timed(function: Callable[[], Any]) -> tuple[Any, np.ndarray]:
    """What the function gives, and seconds of the wall and of the processor."""
    start = np.array([time.perf_counter(), time.process_time()])
    value = function()
    return value, np.array([time.perf_counter(), time.process_time()]) - start


def measure(study: studies.Study, split: Any, data: str, singles: int, memory: float | None) -> dict:
    points = studies.points(study)

    def sweep(study: studies.Study = study) -> list[dict]:
        with tempfile.TemporaryDirectory() as folder:
            return studies.run(study, split, Path(folder) / "lines.jsonl", data=data, memory=memory)

    def single(point: studies.Point) -> dict[str, dict[str, float]]:
        options = {"bits": point.bits, "seed": point.seed, "params": point.params}
        model = jaxcmh.train(study.method, split.train.views, split.train.labels, **options)
        reports = {kind: runs.evaluate(model, split, kind) for kind in runs.kinds(split)}
        return {kind: {name: report[name] for name in report["metrics"]} for kind, report in reports.items()}

    sweep(study._replace(vary={name: values[:6] for name, values in study.vary.items()}))
    lines, together = timed(sweep)
    sample = [points[i] for i in np.linspace(0, len(points) - 1, singles).astype(int)]
    single(sample[0])
    results = [timed(lambda point=point: single(point)) for point in sample]
    separate = np.mean([spent for _, spent in results], axis=0) * len(points)
    found = {(line["seed"], *line["params"].values(), line["database"]): line["map"] for line in lines}
    apart = []
    for point, (scores, _) in zip(sample, results):
        pairs = [(maps, found[(point.seed, *point.params, kind)]) for kind, maps in scores.items()]
        gap = max(abs(maps[name] - others[name]) for maps, others in pairs for name in maps)
        apart.append({"params": point.params._asdict(), "seed": point.seed, "largest_map_difference": gap})
    return {
        "what": study.name,
        "method": study.method,
        "data": data,
        "points": len(points),
        "singles_timed": singles,
        "lanes": lanes.LANES,
        "sweep_seconds": together[0],
        "separate_seconds": separate[0],
        "ratio": together[0] / separate[0],
        "sweep_cpu_seconds": together[1],
        "separate_cpu_seconds": separate[1],
        "cpu_ratio": together[1] / separate[1],
        "compared": apart,
        "memory_limit_gb": memory,
        "peak_memory_gb": lines[-1]["peak_memory_gb"],
        "environment": environment(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("surface", "seeds"))
    parser.add_argument("--data", default="synthetic:wiki")
    parser.add_argument("--root")
    parser.add_argument("--memory", type=float)
    parser.add_argument("--singles", type=int, default=3)
    arguments = parser.parse_args()
    split = jaxcmh.load_dataset(arguments.data, root=arguments.root)
    values = tuple(10.0**power for power in range(-4, 5))
    if arguments.what == "surface":
        chosen = [studies.Study("surface", "surface", "dcgh", seeds=1, vary={"alpha": values, "beta": values})]
    else:
        chosen = [studies.Study("seeds", "seeds", method, seeds=15) for method in ("aah", "dcgh")]
    kept = [json.loads(text) for text in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    for study in chosen:
        line = measure(study, split, arguments.data, arguments.singles, arguments.memory)
        print(json.dumps({name: value for name, value in line.items() if name != "environment"}, indent=1))
        same = [line[name] for name in ("what", "method", "data")]
        kept = [old for old in kept if [old[name] for name in ("what", "method", "data")] != same] + [line]
        RESULTS.write_text("".join(json.dumps(each) + "\n" for each in kept))


if __name__ == "__main__":
    main()
