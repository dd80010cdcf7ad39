"""Speed of `arena.ranking` on a million votes, beside evalica and choix on the same file in one run.

    python benchmarks/ranking_speed.py --other-python PYTHON

The other libraries need not be installed here: `--other-python` is one that has them. Each measurement has a process of
its own and starts from the file. What a library gives differs: evalica and choix give scores alone, ours intervals too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from common import in_own_process, write

LOADED = """
import csv, json, resource, sys, time
begin, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[1], newline="") as stream:
    rows = csv.reader(stream)
    next(rows)
    left, right, winner, worker = zip(*rows)
read, read_cpu = time.perf_counter() - begin, time.process_time() - cpu
names = {name: i for i, name in enumerate(sorted({*left, *right}))}
"""
DONE = """
seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "read_seconds": read, "read_cpu_seconds": read_cpu,
    "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), "version": version,
    "scores": scores}))
"""
OTHERS = {
    "evalica": """
import evalica
version = evalica.__version__
kinds = {"left": evalica.Winner.X, "right": evalica.Winner.Y, "tie": evalica.Winner.Draw}
found = evalica.bradley_terry(left, right, [kinds[name] for name in winner])
scores = {name: float(value) for name, value in found.scores.items()}
""",
    "choix": """
import choix, importlib.metadata
version = importlib.metadata.version("choix")
# choix knows no ties: they are a win of each side, which is what half a win is to the order.
pairs = []
for a, b, won in zip(left, right, winner):
    if won != "right":
        pairs.append((names[a], names[b]))
    if won != "left":
        pairs.append((names[b], names[a]))
found = choix.ilsr_pairwise(len(names), pairs, alpha=0.01)
scores = {name: float(found[i]) for name, i in names.items()}
""",
}


def make_file(path: Path, votes: int, policies: int, voters: int, seed: int) -> None:
    """Votes of a known model, a third of them ties, as a CSV."""
    rng = np.random.default_rng(seed)
    strength = rng.normal(size=policies)
    left = rng.integers(policies, size=votes)
    right = (left + rng.integers(1, policies, size=votes)) % policies
    lead = strength[left] - strength[right] + 0.2
    weight = np.stack([np.exp(lead / 2), np.exp(-lead / 2), np.full(votes, 0.8)], axis=1)
    share = (weight / weight.sum(1, keepdims=True)).cumsum(1)
    choice = (rng.random(votes)[:, None] > share[:, :2]).sum(1)
    worker = rng.integers(voters, size=votes)
    words = ("left", "right", "tie")
    with path.open("w") as stream:
        stream.write("left,right,winner,worker\n")
        for a, b, c, w in zip(left.tolist(), right.tolist(), choice.tolist(), worker.tolist(), strict=True):
            stream.write(f"policy-{a:03d},policy-{b:03d},{words[c]},w{w:05d}\n")


def ours(path: str) -> dict[str, Any]:
    """From the file to scores with sandwich intervals, and to the whole board."""
    begin, cpu = time.perf_counter(), time.process_time()
    from arena.ranking import read_votes
    from arena.ranking.board import board_of
    from arena.ranking.fit import fit, prepare

    ballots = read_votes(Path(path)).ballots
    read = {"read_seconds": time.perf_counter() - begin, "read_cpu_seconds": time.process_time() - cpu}
    found = fit(prepare(ballots))
    fitted = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu, **read}
    board = board_of(found)
    whole = {"board_seconds": time.perf_counter() - begin, "board_cpu_seconds": time.process_time() - cpu}
    return {**fitted, **whole, "scores": {item.name: item.score for item in board.policies}}


def updates(path: str, count: int) -> dict[str, Any]:
    """Milliseconds from one more vote to scores with intervals, and to ranks."""
    from arena.contracts import Choice, Vote
    from arena.ranking import LiveRanking, read_votes

    ballots = read_votes(Path(path)).ballots
    begin = time.perf_counter()
    live = LiveRanking(ballots)
    started = time.perf_counter() - begin
    rng, wall, cpu, ranks = np.random.default_rng(1), [], [], []
    names, voters = ballots.policies, ballots.voter.values
    for _ in range(count):
        left, right = rng.choice(len(names), 2, replace=False)
        choice = Choice(rng.choice(["left", "right", "tie"]))
        vote = Vote(names[left], names[right], choice, voters[rng.integers(len(voters))])
        begin, used = time.perf_counter(), time.process_time()
        live.add(vote)
        wall.append(1e3 * (time.perf_counter() - begin))
        cpu.append(1e3 * (time.process_time() - used))
        used = time.process_time()
        live.places()
        ranks.append(1e3 * (time.process_time() - used))
    spread = {
        name: {"median": float(np.median(values)), "p95": float(np.quantile(values, 0.95)), "max": float(max(values))}
        for name, values in (("wall_ms", wall), ("cpu_ms", cpu), ("ranks_cpu_ms", ranks))
    }
    return {"votes_added": count, "start_seconds": started, **spread}


def other(name: str, python: str, path: Path) -> dict[str, Any] | None:
    """A library's figures, or None where it is not installed."""
    done = subprocess.run(
        [python, "-c", LOADED + OTHERS[name] + DONE, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        print(f"{name} is skipped: {last}", flush=True)
        return None
    return dict(json.loads(done.stdout))


@dataclass(frozen=True)
class Options:
    """How much is measured. `other_python` is one that has evalica and choix; by default, this one."""

    votes: int = 1_000_000
    policies: int = 200
    voters: int = 10_000
    updates: int = 300
    seed: int = 0
    other_python: str = sys.executable


def _after_reading(figures: dict[str, Any]) -> float:
    return float(figures["cpu_seconds"] - figures["read_cpu_seconds"])


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "votes.csv"
        make_file(path, options.votes, options.policies, options.voters, options.seed)
        figures: dict[str, Any] = {"dreamarena": in_own_process(ours, str(path))}
        for name in OTHERS:
            if (found := other(name, options.other_python, path)) is not None:
                figures[name] = found
        figures["one_more_vote"] = in_own_process(updates, str(path), options.updates)
    report(figures, options)


def report(figures: dict[str, Any], options: Options) -> None:
    """Print the ratios and write the file."""
    from scipy.stats import spearmanr

    mine = figures["dreamarena"].pop("scores")
    ratios = {}
    for name in OTHERS:
        if name not in figures:
            continue
        theirs = figures[name].pop("scores")
        ratios[name] = {
            "cpu_seconds_over_ours": figures[name]["cpu_seconds"] / figures["dreamarena"]["cpu_seconds"],
            "cpu_seconds_after_reading_over_ours": _after_reading(figures[name])
            / _after_reading(figures["dreamarena"]),
            "seconds_over_ours": figures[name]["seconds"] / figures["dreamarena"]["seconds"],
            "memory_over_ours": figures[name]["peak_memory_mb"] / figures["dreamarena"]["peak_memory_mb"],
            "spearman_with_ours": float(spearmanr(list(mine.values()), [theirs[key] for key in mine]).statistic),
        }
    size = {name: value for name, value in asdict(options).items() if name != "other_python"}
    # Where other programs run, seconds are theirs too: the processor's time is what can be compared between days.
    busy = {"load_average": os.getloadavg()[0], "cores_used": len(os.sched_getaffinity(0))}
    path = write("ranking_speed", {"size": size, **figures, "ratios": ratios, **busy})
    print(json.dumps({**figures, "ratios": ratios}, indent=2))
    print(f"written to {path}")


if __name__ == "__main__":
    main(tyro.cli(Options))
