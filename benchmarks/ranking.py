"""Does the shipped world model rank policies as the stand-in reality does, from beginnings that it never saw?

Every policy of the line-up (`workers/lineup.py`) acts in the same scenes twice: imagined, judged by the shipped judge,
and in the stand-in reality, which knows. `dreamarena validate` compares the two. Besides, recorded actions that are
known to fail (a gripper that never closes, contact beside the object, an early stop) are imagined and judged.

    python benchmarks/ranking.py [--each 8] [--only-tasks reach-v3 ...]

Resumable: trials that `--data` holds already are not run again. Figures go to docs/benchmarks/ranking.json, the page
with plots to docs/benchmarks/ranking/validation.html.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from common import OUTPUT, REPOSITORY, as_json, write
from ranking_tools import WORLD

from workers.cli.session import Session
from workers.evaluation import Dataset
from workers.jobs import Request
from workers.lineup import CONTROLS, HELD_OUT_TASKS, LINEUP, TASKS
from workers.orchestrate import EvaluationPlan, evaluate
from workers.registry import STAND_IN, pretrained
from workers.settings import SAMPLER_STEPS, Settings
from workers.steps.record import RecordInputs

SEED = 2
"""Of the test recording: neither the world model nor a policy nor the judge was trained on it."""
FAILING = {"open_gripper": 1.0, "wrong_goal": 1.0, "early_stop": 1.0}
SPEARMAN_TARGET = 0.7


@dataclass(frozen=True)
class Options:
    """`each` scenes of each task; `failing` recordings of each task that are known to fail."""

    world: Path = WORLD
    each: int = 8
    failing: int = 12
    steps: int = 24
    sampler_steps: int = SAMPLER_STEPS
    batch: int = 26
    judge: str = "learned"
    only_tasks: tuple[str, ...] = (*TASKS, *HELD_OUT_TASKS)
    only_policies: tuple[str, ...] = (*LINEUP, *CONTROLS)
    data: Path = REPOSITORY / "out" / "benchmark" / "ranking"
    name: str = "ranking"


def main(options: Options) -> None:
    session = Session(Settings()).at_home(options.data / "store")
    try:
        figures = measure(options, session)
    finally:
        session.close()
    print(write(options.name, figures).read_text())


def measure(options: Options, session: Session) -> dict[str, Any]:
    """All figures of the benchmark."""
    scenes = recorded(options, session, "scenes", {"expert": 1.0}, options.each)
    shared = {"policies": specs(options), "episodes": scenes, "steps": options.steps, "batch": options.batch}
    world = str(options.world)
    imagined = evaluate(
        session.context,
        EvaluationPlan(world=world, sampler_steps=options.sampler_steps, judge=options.judge, **shared),
        session.run,
    )
    real = evaluate(session.context, EvaluationPlan(world=STAND_IN, **shared), session.run)
    found = validated(session, imagined["evaluation"], real["evaluation"], options)
    cloned = [score for score in found["scores"] if score["policy"] in LINEUP]
    held_out = [task["task"] for task in found["tasks"] if task["task"] in HELD_OUT_TASKS]
    return {
        **headline(found),
        **false_success(options, session, world),
        "cloned_only": agreement(cloned),
        "abstained": abstentions(imagined),
        "held_out_tasks": {t["task"]: summary(t) for t in found["tasks"] if t["task"] in held_out},
        "by_task": {t["task"]: summary(t) for t in found["tasks"] if t["task"] not in held_out},
        "scores": [
            {"policy": s["policy"], "imagined": s["evaluator"]["value"], "true": s["real"]["value"]}
            for s in found["scores"]
        ],
        "options": as_json(options),
    }


def recorded(options: Options, session: Session, name: str, kinds: Mapping[str, float], each: int) -> Path:
    """A recording of the test seed, made once."""
    out = (options.data / name).resolve()
    inputs = RecordInputs(
        out=str(out), tasks=options.only_tasks, episodes_per_task=each, seed=SEED, height=64, width=96,
        kinds=tuple(kinds.items()),
    )  # fmt: skip
    session.run([Request("record", inputs)])
    return out


def specs(options: Options) -> tuple[str, ...]:
    return tuple(f"bc:{pretrained(name)}" if name in LINEUP else name for name in options.only_policies)


def validated(session: Session, evaluator: str, real: str, options: Options) -> dict[str, Any]:
    """`dreamarena validate` on two evaluations; its page and JSON go to docs/benchmarks/NAME/."""
    from arena.rollout import code_version
    from arena.validation import validate
    from arena.validation.stored import stored_evaluator, stored_real
    from workers.validation_page import write_validation

    store = session.context.store
    found = asdict(validate(evaluator=stored_evaluator(store, evaluator), real=stored_real(store, real), seed=0))
    found["code"] = code_version()
    write_validation(found, OUTPUT / options.name)
    return found


def headline(found: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that targets are set for. A task counts as ok with a Spearman rho of at least 0.7."""
    rhos = [task["spearman"]["value"] for task in found["tasks"]]
    defined = [rho for rho in rhos if rho is not None]
    return {
        "policies": found["policies"],
        "tasks": len(found["tasks"]),
        "trials": sum(score["trials"]["real"] for score in found["scores"]),
        "pearson": found["pearson"]["value"],
        "pearson_low": found["pearson"]["low"],
        "spearman": found["spearman"]["value"],
        "kendall": found["kendall"]["value"],
        "mmrv": found["mmrv"]["value"],
        "drop_one_min": found["drop_one"]["min"],
        "optimism": found["optimism"]["value"],
        "calibration_error": found["calibration"]["error"]["value"] if found["calibration"] else None,
        "spearman_tasks_ok": sum(rho >= SPEARMAN_TARGET for rho in defined) / max(len(defined), 1),
        "spearman_tasks_defined": len(defined),
    }  # fmt: skip


def agreement(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """r, MMRV and optimism of some of the policies: without the controls that anchor both ends."""
    import numpy as np

    from arena.validation.agreement import mmrv, optimism, pearson

    sides = {
        "evaluator": np.array([score["evaluator"]["value"] for score in scores]),
        "real": np.array([score["real"]["value"] for score in scores]),
    }
    measures = {"pearson": pearson, "mmrv": mmrv, "optimism": optimism}
    return {"policies": len(scores), **{name: round(float(of(**sides)), 4) for name, of in measures.items()}}


def summary(task: Mapping[str, Any]) -> dict[str, Any]:
    return {name: task[name]["value"] for name in ("pearson", "spearman", "mmrv", "optimism")}


def abstentions(ranking: Mapping[str, Any]) -> dict[str, int]:
    return {policy["policy"]: policy["abstained"] for policy in ranking["policies"]}


def false_success(options: Options, session: Session, world: str) -> dict[str, Any]:
    """Replays of recorded actions that truly fail: how many the judge calls a success, in all and by kind."""
    failing = recorded(options, session, "failing", FAILING, options.failing)
    episodes = Dataset.at(failing).episodes(session.context)
    failed = tuple(episode.id for episode in episodes if not episode.success)
    plan = EvaluationPlan(
        world=world, policies=("replay",), episodes=failing, keep=failed, steps=options.steps, batch=options.batch,
        sampler_steps=options.sampler_steps, judge=options.judge,
    )  # fmt: skip
    judged = evaluate(session.context, plan, session.run)
    threshold = float(judged["judge"]["card"]["threshold"])
    results = session.context.store.results
    rollouts = results.rollouts(judged["evaluation"])
    kinds = {episode.id: str(episode.metadata["kind"]) for episode in episodes}
    verdicts = {v.rollout_id: v for v in results.verdicts([r.id for r in rollouts], judged["judge"]["sha256"])}
    called: dict[str, list[bool]] = defaultdict(list)
    for rollout in rollouts:
        verdict = verdicts[rollout.id]
        if not verdict.abstained:
            called[kinds[rollout.scene_id.partition("@")[0]]].append((verdict.success_probability or 0.0) >= threshold)
    every = [success for kind in called.values() for success in kind]
    return {
        "false_success": round(sum(every) / len(every), 4),
        "false_success_trials": len(every),
        "false_success_abstained": len(rollouts) - len(every),
        "false_success_by_kind": {kind: [sum(row), len(row)] for kind, row in called.items()},
    }


if __name__ == "__main__":
    os.environ.setdefault("MUJOCO_GL", "egl")
    main(tyro.cli(Options))
