"""A synthesis from what its user asks for to a dataset: rounds of attempts until it is enough, then select and export.

The steps are jobs; this part only submits them and waits, so it can be stopped and started again: what was done is
found, and the same attempts lead to the same dataset.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from arena.contracts import InvalidInput
from arena.synthesis.plan import ROLLOUT, Attempt, Beginning
from arena.synthesis.select import Candidate, Selection, fault, select
from workers.evaluation import Dataset
from workers.jobs import Context, Json, Request
from workers.orchestrate import RunJobs
from workers.rollouts import open_rollout, rollout_reference
from workers.synthesis_plan import Prepared, SynthesisRequest, judging_lines, prepare, selection_lines
from workers.synthesis_review import review_path, reviewed
from workers.synthesis_specs import AttemptSpec, ExportSyntheticInputs, ImagineInputs, JudgedAttempt, KeptAttempt

PARALLEL = 8
"""Batches that are handed out at once where workers share the work; here, one after another."""
MIDDLE = (0.2, 0.7)
"""Between which shares of a trial another one may begin at its frame."""


def synthesize(
    context: Context, request: SynthesisRequest, run: RunJobs, say: Callable[[str], None] = lambda text: None
) -> Json:
    """Have it done. Returns what the dataset holds, and what became of every attempt.

    Raises `InvalidInput` before anything runs where something cannot be, and where no attempt was good enough;
    `Waiting` where a person is to look first.
    """
    began = time.monotonic()
    work = prepare(context, request)
    judged = _attempts(context, request, work, run, say, began)
    selection = _selection(context, request, judged)
    if not selection.chosen:
        raise InvalidInput(nothing_found(judged, selection))
    frames = {chosen.id: chosen.frames for chosen in selection.chosen}
    chosen = [KeptAttempt(judged=each, frames=frames[each.rollout]) for each in judged if each.rollout in frames]
    if request.review:
        path = review_path(context, request, chosen)
        chosen = reviewed(context, path, request, chosen)
    inputs = ExportSyntheticInputs(
        kept=tuple(chosen), out=str(request.out.resolve()), format=request.export.format,
        target=request.export.target, blank_cameras=request.export.blank_cameras,
        real=None if request.real is None else Dataset.at(request.real), ratio=request.ratio, seed=request.seed,
        judging=judging_lines(work), selection=selection_lines(request),
        dropped=tuple(sorted(selection.counts.items())),
    )  # fmt: skip
    [made] = run([Request("export_synthetic", inputs)])
    scenes = Counter(each.judged.attempt.id for each in chosen)
    return {
        **made,
        "attempts": len(judged),
        "judged_successes": sum(_succeeded(each) for each in judged),
        "dropped": selection.counts,
        "scenes": len(scenes),
        "seconds": round(time.monotonic() - began, 1),
    }


def _attempts(
    context: Context, request: SynthesisRequest, work: Prepared, run: RunJobs, say: Callable[[str], None], began: float
) -> list[JudgedAttempt]:
    """Rounds, batch by batch, until there are enough, or the budget is used up."""
    budget, plan = request.budget, work.plan
    found: list[JudgedAttempt] = []
    at_once = PARALLEL if context.settings.broker_url else 1
    rounds = 0
    while len(found) < budget.attempts:
        attempts = plan.round(rounds, _per_beginning(found))[: budget.attempts - len(found)]
        if not attempts:
            return found
        for wave in _cut(attempts, request.batch * at_once):
            batches = [_batch(work.batch, part) for part in _cut(wave, request.batch)]
            for result in run([Request("imagine", batch) for batch in batches]):
                found += [JudgedAttempt.model_validate(each, strict=False) for each in result["attempts"]]
            good = sum(_succeeded(each) for each in found)
            say(f"{good} successes in {len(found)} attempts; {budget.wanted} are wanted of {budget.attempts} at most")
            if _enough(context, request, found):
                return found
            if budget.minutes is not None and time.monotonic() - began > 60 * budget.minutes:
                say(f"{budget.minutes:g} minutes are over: what was found so far is selected from")
                return found
        rounds += 1
        if rounds == 1 and request.resets:
            plan = replace(plan, beginnings=(*plan.beginnings, *_resets(context, request, found)))
    return found


def _cut(attempts: Sequence[Attempt], size: int) -> list[list[Attempt]]:
    return [list(attempts[start : start + size]) for start in range(0, len(attempts), size)]


def _batch(shared: ImagineInputs, attempts: Sequence[Attempt]) -> ImagineInputs:
    return shared.model_copy(update={"attempts": tuple(AttemptSpec.of(attempt) for attempt in attempts)})


def _succeeded(judged: JudgedAttempt) -> bool:
    return judged.probability is not None and judged.probability >= judged.threshold


def _per_beginning(found: Sequence[JudgedAttempt]) -> dict[str, int]:
    return dict(Counter(f"{each.attempt.id}@{each.attempt.frame}" for each in found if _succeeded(each)))


def _enough(context: Context, request: SynthesisRequest, found: Sequence[JudgedAttempt]) -> bool:
    if sum(_succeeded(each) for each in found) < request.budget.wanted and request.rules.judged:
        return False
    return len(_selection(context, request, found).chosen) >= request.budget.wanted


def _selection(context: Context, request: SynthesisRequest, found: Sequence[JudgedAttempt]) -> Selection:
    candidates = [_candidate(context, each) for each in found if each.rollout is not None]
    return select(candidates, request.rules, request.budget.wanted, request.budget.per_scene, request.seed)


def _candidate(context: Context, judged: JudgedAttempt) -> Candidate:
    assert judged.rollout is not None
    rollout, _ = open_rollout(context.artifacts, rollout_reference(judged.rollout))
    attempt = judged.attempt
    return Candidate(
        id=judged.rollout, scene=f"{attempt.id}@{attempt.frame}", group=attempt.task or attempt.instruction,
        probability=judged.probability, threshold=judged.threshold, state=rollout.state, apart=judged.apart,
        done=judged.done,
    )  # fmt: skip


def _resets(context: Context, request: SynthesisRequest, found: Sequence[JudgedAttempt]) -> list[Beginning]:
    """Frames of trials that the judge thought well of, drawn by the seed: starts that no recording has."""
    good = [each for each in found if _succeeded(each) and not fault(_candidate(context, each), request.rules)]
    random = np.random.default_rng([request.seed, 1])
    drawn = []
    for index in islice(random.permutation(len(good)), request.resets):
        judged = good[index]
        assert judged.rollout is not None
        frame = int(random.uniform(*MIDDLE) * (judged.done or request.steps))
        spec = judged.attempt
        drawn.append(Beginning(judged.rollout, max(1, frame), spec.instruction, spec.task, ROLLOUT))
    return drawn


def nothing_found(judged: Sequence[JudgedAttempt], selection: Selection) -> str:
    """One line on why there is nothing to export, and what can be done."""
    broken = [each.reason for each in judged if each.rollout is None]
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(selection.counts.items()))
    if len(broken) == len(judged):
        return f"no successes found: the policy broke off in all {len(judged)} attempts, e.g. {broken[0]}"
    return (
        f"no successes found in {len(judged)} attempts ({why}): try scenes or instructions that the policy can do at "
        "times, more --noises, or more --attempts; nothing was written"
    )
