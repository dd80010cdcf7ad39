"""The main job end to end: videos in, a ranked leaderboard and a report out.

Without episodes of the user's, the stand-in robot records some, the shipped world model imagines, and the
ranking is held against what the same policies do in the stand-in reality. With the user's own, the shipped
model is fine-tuned on some of them for a few minutes first, and the others are held out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arena.contracts import Episode, InvalidInput
from workers.cli.session import Session
from workers.content import fingerprint
from workers.evaluation import Dataset, WorldSpec
from workers.jobs import Context, Json, Request
from workers.orchestrate import evaluate
from workers.plans import EvaluationPlan
from workers.registry import STAND_IN, WORLD, pretrained
from workers.report import write_report
from workers.settings import SAMPLER_STEPS
from workers.showcase import Exhibit, exhibit_report
from workers.steps.record import RecordInputs
from workers.steps.replay import ReplayInputs
from workers.steps.train import TrainInputs

TASKS = ("drawer-open-v3", "button-press-topdown-v3", "faucet-open-v3", "plate-slide-v3", "reach-v3")
"""Five of the eleven that the shipped world model knows, of different kinds."""
SCENES_SEED = 2
"""Of the recording: what is tried here is nothing that world model, policies or judge were trained on."""
CLONED = ("bc-keypoints", "bc-pooled", "bc-keypoints-few")
CONTROLS = ("replay", "hold", "noise", "reverse")
NOTICED = 0.3
"""dB: a smaller difference between right and wrong actions is none."""
BEGINNINGS = 4
"""Of scenes and replays in each of the user's own episodes, which are longer than a trial."""


@dataclass
class Demo:
    """One run of the demo, step by step; what a run before finished is taken from the store in `out`."""

    session: Session
    out: Path
    scenes: int = 15
    steps: int = 24
    labelled: int = 40
    sampler_steps: int = SAMPLER_STEPS
    timings: dict[str, float] = field(default_factory=dict)

    def run(self, episodes: Path | None) -> Json:
        """Everything; returns the ranking, the replay's fidelity and where the report is."""
        return self.on_recordings() if episodes is None else self.on_videos(episodes)

    def on_recordings(self) -> Json:
        """The demo on the stand-in robot: ranking in imagination, and the truth beside it."""
        scenes = self._record(SCENES_SEED, max(2, -(-self.scenes * 2 // len(TASKS))), "scenes")
        world = str(pretrained(WORLD))
        cloned = tuple(f"bc:{pretrained(name)}" for name in CLONED)
        policies = (CONTROLS[0], *cloned, *CONTROLS[1:])
        plan = EvaluationPlan(
            world=world, policies=policies, episodes=scenes, scenes=self.scenes, steps=self.steps,
            sampler_steps=self.sampler_steps, batch=self.scenes,
        )  # fmt: skip
        ranking = self._timed("ranking in imagination", lambda: evaluate(self._context, plan, self.session.run))
        real = EvaluationPlan(
            world=STAND_IN, policies=policies, episodes=scenes, scenes=self.scenes, steps=self.steps, batch=self.scenes
        )
        truth = self._timed("the truth", lambda: evaluate(self._context, real, self.session.run))
        fidelity = self._replay(world, Dataset.at(scenes), (0.5, 1.0))
        return self._report(
            ranking, fidelity, truth["evaluation"],
            title=f"{len(policies)} policies, ranked in a world model",
            subtitle="Imagined from the first frame of recorded Meta-World episodes.",
            notes=[],
        )  # fmt: skip

    def on_videos(self, episodes: Path) -> Json:
        """The demo on the user's own videos: fine-tune, measure on held-out episodes, rank the controls."""
        found, rate, notes = self._usable(episodes)
        held = found[:: max(2, len(found) // 2)][:2] if len(found) < 8 else found[::4]
        held_ids = tuple(episode.id for episode in held)
        learned_ids = tuple(e.id for e in found if e.id not in held_ids)
        world = self._fine_tune(Dataset.at(episodes, keep=learned_ids))
        dataset = Dataset.at(episodes, keep=held_ids)
        fidelity = self._replay(world, dataset, (1.0, 3.0), BEGINNINGS)
        plan = EvaluationPlan(
            world=world, policies=CONTROLS, episodes=episodes, keep=tuple(e.id for e in found), scenes=self.scenes,
            beginnings=BEGINNINGS, steps=round(6 * rate), sampler_steps=self.sampler_steps, batch=self.scenes,
            labelled=self.labelled,
        )  # fmt: skip
        ranking = self._timed("ranking in imagination", lambda: evaluate(self._context, plan, self.session.run))
        notes.append(f"fine-tuned on {len(learned_ids)} episodes; fidelity is of {len(held_ids)} held-out ones")
        notes += distrust(fidelity)
        return self._report(
            ranking, fidelity, None,
            title="Control policies in a world model of your videos",
            subtitle=f"{len(found)} episodes at {rate:g} Hz; imagined from their first frames.",
            notes=notes,
        )  # fmt: skip

    @property
    def _context(self) -> Context:
        return self.session.context

    def _record(self, seed: int, each: int, name: str) -> Path:
        out = (self.out / "recordings" / name).resolve()
        inputs = RecordInputs(
            out=str(out), tasks=TASKS, episodes_per_task=each, seed=seed, height=64, width=96
        )  # fmt: skip
        self._timed(f"recording {name}", lambda: self.session.run([Request("record", inputs)]))
        return out

    def _usable(self, path: Path) -> tuple[Sequence[Episode], float, list[str]]:
        """The episodes of the commonest frame rate: a model has one. Raises `InvalidInput` for fewer than 4."""
        episodes = Dataset.at(path).episodes(self._context)
        rate, count = Counter(round(episode.fps, 3) for episode in episodes).most_common(1)[0]
        chosen = sorted((e for e in episodes if round(e.fps, 3) == rate), key=lambda episode: episode.id)
        if count < 4:
            raise InvalidInput(f"{path} has {count} episodes at {rate:g} Hz: the demo needs 4, two of them held out")
        left = len(episodes) - count
        notes = [f"{left} episodes at other frame rates than {rate:g} Hz were left out"] if left else []
        return chosen, rate, notes

    def _fine_tune(self, dataset: Dataset) -> str:
        start = pretrained(WORLD)
        out = (self.out / f"world-{dataset.fingerprint[:12]}").resolve()
        inputs = TrainInputs(
            preset="small", datasets=(dataset,), out=str(out), steps=250, autoencoder_steps=600, batch=4,
            autoencoder_batch=12, learning_rate=3e-4, autoencoder_learning_rate=1e-3, tracker_steps=300, seed=0,
            start=str(start), start_fingerprint=fingerprint(start),
        )  # fmt: skip
        [trained] = self._timed(
            "fine-tuning (two to six minutes on two cores)", lambda: self.session.run([Request("train", inputs)])
        )
        return str(trained["world"])

    def _replay(
        self, world: str, dataset: Dataset, seconds: tuple[float, ...], beginnings: int = 1
    ) -> list[dict[str, Any]]:
        inputs = ReplayInputs(
            world=WorldSpec(name=world, sampler_steps=self.sampler_steps), world_fingerprint=fingerprint(Path(world)),
            dataset=dataset, seconds=seconds, beginnings=beginnings, limit=12, seed=0, batch=12,
        )  # fmt: skip
        [report] = self._timed("replay", lambda: self.session.run([Request("replay", inputs)]))
        return list(report["fidelity"])

    def _report(
        self,
        ranking: Json,
        fidelity: list[dict[str, Any]],
        truth: str | None,
        title: str,
        subtitle: str,
        notes: list[str],
    ) -> Json:
        seconds = {name: f"{value:.0f} s" for name, value in self.timings.items()}
        exhibit = Exhibit(
            evaluation=ranking["evaluation"], truth=truth, fidelity=fidelity, title=title, subtitle=subtitle,
            notes=notes, made={"time taken": seconds},
        )  # fmt: skip
        with self.session.progress() as progress:
            from dataclasses import replace

            data = exhibit_report(exhibit, replace(self._context, progress=progress), self.out / "videos")
        page = write_report(data, self.out)
        true = {s.policy: [s.true.successes, s.true.trials] for s in data.policies if s.true}
        told = {**ranking, "notes": [*ranking["notes"], *notes]}
        return {**told, "true_success": true, "fidelity": fidelity, "report": str(page), "seconds": self.timings}

    def _timed(self, name: str, work: Any) -> Any:
        began = time.monotonic()
        self.session.say(f"{name} ...")
        result = work()
        self.timings[name] = round(time.monotonic() - began, 1)
        return result


def distrust(fidelity: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why a ranking should not be believed: a world model that is no better than its controls at the last horizon."""
    overall = [row for row in fidelity if row["view"] == "all"]
    last = max(overall, key=lambda row: float(row["seconds"]))
    psnr, ahead = last["psnr"], f"{last['seconds']:g} s ahead"
    reasons = []
    if psnr["model"] <= psnr["copy"]:
        reasons.append(f"copying the first frame ({psnr['copy']:.1f} dB) beats it ({psnr['model']:.1f} dB)")
    if psnr["model"] <= psnr["wrong_action"] + NOTICED:
        reasons.append(f"another episode's actions ({psnr['wrong_action']:.1f} dB) look the same to it")
    if not reasons:
        return []
    return [f"do not trust this ranking yet: {ahead} {' and '.join(reasons)}; the world model needs more episodes"]
