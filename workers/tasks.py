"""Every kind of job by name. Each is a Celery task, `dreamarena.NAME`, whose only argument is a job's key."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from workers.jobs import Step
from workers.steps import ingest

STEPS: Mapping[str, Step[Any]] = MappingProxyType({step.name: step for step in (ingest.STEP,)})
