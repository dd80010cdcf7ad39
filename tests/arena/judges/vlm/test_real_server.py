"""The judge on transformers' own OpenAI-compatible server, with a tiny vision-language model made in the test."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="transformers' server needs fastapi, uvicorn and openai (extra dev)")

from arena.contracts import Rollout
from arena.judges.vlm.asking import Sampling
from arena.judges.vlm.cache import FolderCache
from arena.judges.vlm.config import VlmConfig
from arena.judges.vlm.endpoint import Endpoint
from arena.judges.vlm.frames import FramePlan
from arena.judges.vlm.judge import VlmJudge
from arena.judges.vlm.prompts import SCORES, messages, scores_parts
from tests.arena.judges.vlm.stub import rollout
from tests.arena.judges.vlm.tiny_model import answer, make

PLAN = FramePlan(rate_hz=10.0, max_frames=3)
DONE = answer([40, 95], 0.9, "bright")
FAILED = answer([0, 5], 0.1, "dark")


def shown(bright: bool) -> Rollout:
    """Three frames, the last of which is bright or dark."""
    film = np.full((3, 16, 16, 3), 110, np.uint8)
    film[-1] = 250 if bright else 5
    return replace(rollout("bright" if bright else "dark"), frames={"wrist": film})


def asked(of: Rollout) -> list[dict[str, object]]:
    """What the judge will ask about a rollout."""
    pictures = PLAN.pictures(of.frames, of.fps)
    return messages(SCORES, scores_parts(of.instruction, pictures[0], [], pictures[1:]))


@contextmanager
def served(model: Path) -> Iterator[str]:
    from transformers.cli.serve import Serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Serve(force_model=str(model), device="cpu", host="127.0.0.1", port=port, non_blocking=True)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"{url}/v1"
    finally:
        server.kill_server()


def judge_of(model: Path, url: str, tmp_path: Path, **sampling: object) -> VlmJudge:
    config = VlmConfig(
        str(model),
        Endpoint(url, timeout_s=60.0),
        PLAN,
        Sampling(max_tokens=48, **sampling),
        repeats=2,  # type: ignore[arg-type]
    )
    return VlmJudge(config, FolderCache(tmp_path / "replies"), pause=lambda seconds: None)


def test_a_model_that_answers_by_the_schema_gives_verdicts_on_what_it_sees(tmp_path: Path) -> None:
    lessons = [(asked(shown(True)), DONE), (asked(shown(False)), FAILED)]
    model = make(tmp_path / "model", [SCORES, DONE, FAILED], lessons)
    with served(model) as url:
        judge = judge_of(model, url, tmp_path)
        bright, dark = judge.judge(shown(True)), judge.judge(shown(False))
        assert (bright.success_probability, bright.progress, bright.reason) == (0.9, 95.0, "bright")
        assert (dark.success_probability, dark.progress, dark.reason) == (0.1, 5.0, "dark")
        assert judge.ledger.calls == 4
        assert judge.ledger.prompt_tokens > 4 * 200
        assert judge.ledger.untold == 0
    again = judge_of(model, url, tmp_path)
    # The server is gone: the second run lives on what the first one kept.
    assert (again.judge(shown(True)), again.judge(shown(False))) == (bright, dark)
    assert (again.ledger.calls, again.ledger.replayed) == (0, 4)


def test_a_model_that_babbles_is_missing_and_not_a_failure(tmp_path: Path) -> None:
    model = make(tmp_path / "model", [SCORES])
    with served(model) as url:
        judge = judge_of(model, url, tmp_path)
        verdict = judge.judge(shown(True))
    assert verdict.abstained
    assert (verdict.success_probability, verdict.progress) == (None, None)
    assert judge.ledger.calls <= 2 * 5
    assert judge.ledger.failures
