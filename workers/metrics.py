"""What Prometheus is told: its text format, from the tables, so that every server says the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from arena.store.totals import Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[tuple[str, str], ...]
Values = dict[Labels, float]


@dataclass(frozen=True)
class Metric:
    """One name, with what it means, `gauge` or `counter`, and a value for each set of labels."""

    name: str
    help: str
    type: str
    values: Values

    def lines(self) -> Iterable[str]:
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.type}"
        for labels, value in sorted(self.values.items()):
            shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            yield f"{self.name}{{{shown}}} {value:.10g}" if shown else f"{self.name} {value:.10g}"


def exposition(found: Totals, messages: Mapping[str, int] | None) -> str:
    """`messages` are those that the broker holds, by queue; None where there is no broker, or it does not answer."""
    metrics = [
        Metric("dreamarena_info", "The release that answers.", "gauge", {(("version", version("dreamarena")),): 1}),
        *_of_jobs(found),
        *_of_results(found),
        *_of_judging(found.judging),
    ]
    if messages is not None:
        values: Values = {(("queue", queue),): float(count) for queue, count in messages.items()}
        metrics.append(Metric("dreamarena_broker_messages", "Messages that no worker has taken.", "gauge", values))
    return "\n".join(line for metric in metrics for line in metric.lines()) + "\n"


def _of_jobs(found: Totals) -> list[Metric]:
    counts: Values = {(("kind", job.kind), ("status", str(job.status))): float(job.count) for job in found.jobs}
    ages: Values = {
        (("kind", job.kind), ("status", str(job.status))): job.oldest
        for job in found.jobs
        if job.status in ("queued", "running")
    }
    return [
        Metric("dreamarena_jobs", "Jobs by kind and state.", "gauge", counts),
        Metric("dreamarena_oldest_job_seconds", "Since the oldest unfinished one was asked for.", "gauge", ages),
    ]


def _of_results(found: Totals) -> list[Metric]:
    rollouts: Values = {(("world", world),): float(count) for world, (count, _) in found.rollouts.items()}
    frames: Values = {(("world", world),): float(count) for world, (_, count) in found.rollouts.items()}
    verdicts: Values = {
        (("judge", judge), ("abstained", str(abstained).lower())): float(count)
        for (judge, abstained), count in found.verdicts.items()
    }
    evaluations: Values = {(("status", status),): float(count) for status, count in found.evaluations.items()}
    return [
        Metric("dreamarena_rollouts_total", "Rollouts stored.", "counter", rollouts),
        Metric(
            "dreamarena_imagined_frames_total", "Frames of all rollouts: rate() of it is imagined frames per second.",
            "counter", frames,
        ),
        Metric("dreamarena_verdicts_total", "Verdicts stored.", "counter", verdicts),
        _one("dreamarena_votes_total", "Votes of people.", "counter", found.votes),
        Metric("dreamarena_evaluations", "Evaluations by state.", "gauge", evaluations),
    ]  # fmt: skip


def _of_judging(judging: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """What finished judging jobs spent, by model."""
    sums: dict[str, Values] = {"calls": {}, "prompt_tokens": {}, "completion_tokens": {}}
    dollars: Values = {}
    for result in judging:
        for model, spent in (result.get("spent") or {}).items():
            labels: Labels = (("model", str(model)),)
            for name, sum_ in sums.items():
                sum_[labels] = sum_.get(labels, 0.0) + float(spent.get(name) or 0)
            dollars[labels] = dollars.get(labels, 0.0) + float(spent.get("usd") or 0.0)
    return [
        Metric(f"dreamarena_judge_{name}_total", f"{name.replace('_', ' ').capitalize()} of judges.", "counter", each)
        for name, each in sums.items()
    ] + [Metric("dreamarena_judge_dollars_total", "What judges cost, by the prices given.", "counter", dollars)]


def _one(name: str, help: str, type: str, value: float) -> Metric:
    return Metric(name, help, type, {(): float(value)})


def _escaped(text: str) -> str:
    return re.sub(r"[\x00-\x1f]", " ", text.replace("\\", r"\\").replace('"', r"\""))
