"""Run by an interpreter that has lerobot: what its own `LeRobotDataset` makes of a dataset, as JSON and an npz.

    python lerobot_reads.py DATASET OUT.npz

It imports nothing of dreamarena.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch

# The only torch for CPUs alone at hand is newer than any torchvision that still has lerobot's video reader. What that
# torchvision compiled is not loaded then; it declares one of its operators only if it knows it.
operators = torch.library.Library("torchvision", "DEF")
operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.lerobot_dataset import CODEBASE_VERSION, LeRobotDataset  # noqa: E402


def main(root: str, out: str) -> None:
    dataset = LeRobotDataset("local/made", root=root, video_backend="pyav")
    numbers: dict[str, list[np.ndarray]] = {}
    episodes, said = [], []
    for row in range(len(dataset)):
        item = dataset[row]
        episodes.append(int(item["episode_index"]))
        said.append(item["task"])
        for name, value in item.items():
            if isinstance(value, torch.Tensor):
                numbers.setdefault(name, []).append(value.numpy())
    np.savez(out, **{name: np.stack(values) for name, values in numbers.items()})
    stats = {
        name: {key: np.asarray(value).tolist() for key, value in part.items()}
        for name, part in dataset.meta.stats.items()
    }
    facts = {
        "version": CODEBASE_VERSION,
        "episodes": dataset.num_episodes,
        "frames": dataset.num_frames,
        "fps": dataset.fps,
        "cameras": sorted(dataset.meta.camera_keys),
        "episode_of_row": episodes,
        "said": said,
        "stats": stats,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
