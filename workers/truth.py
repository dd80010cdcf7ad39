"""The judge of worlds that know: the simulator's own word on success."""

from __future__ import annotations

import hashlib

from arena.contracts import Rollout, Verdict


class TruthJudge:
    """Passes on `Rollout.success`, and abstains where the world could not tell."""

    name = "truth"
    sha256 = hashlib.sha256(b"truth 1").hexdigest()

    def judge(self, rollout: Rollout) -> Verdict:
        if rollout.success is None:
            reason = f"world {rollout.world} does not know whether a trial succeeded"
            return Verdict(rollout.id, self.name, self.sha256, None, None, reason, abstained=True)
        reason = "the world says that the task was done" if rollout.success else "the world says that it was not done"
        return Verdict(rollout.id, self.name, self.sha256, float(rollout.success), None, reason)
