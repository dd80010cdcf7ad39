"""Every kind of job by name. Each is a Celery task, `dreamarena.NAME`, whose only argument is a job's key."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from workers.jobs import Step
from workers.steps import (
    audit_judge,
    clone,
    export_synthetic,
    finetune,
    imagine,
    ingest,
    judge,
    measure_judge,
    rank,
    reconstruct,
    record,
    record_policies,
    replay,
    rollout,
    submit_policy,
    train,
    train_judge,
)

_ALL: tuple[Step[Any], ...] = (
    ingest.STEP, record.STEP, train.STEP, rollout.STEP, judge.STEP, rank.STEP, replay.STEP, clone.STEP,
    train_judge.STEP, measure_judge.STEP, audit_judge.STEP, record_policies.STEP,
    submit_policy.STEP, imagine.STEP, export_synthetic.STEP, finetune.STEP, reconstruct.STEP,
)  # fmt: skip
STEPS: Mapping[str, Step[Any]] = MappingProxyType({step.name: step for step in _ALL})
