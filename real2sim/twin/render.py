"""A twin's pictures: splat background, objects that move with their bodies and the robot, by depth in every pixel.

Every body is drawn by itself, from a camera that is moved into the body's frame. That is the same picture as moving
the body's Gaussians (view dependence included), and lets one call draw a body for all scenes of a batch, each with
its own pose. Cameras that do not move see one background: it is drawn once and kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.contracts import FloatArray, Frames, InvalidInput
from real2sim.camera import Camera
from real2sim.splats.device import splat_device
from real2sim.splats.gaussians import Gaussians, check_rigid
from real2sim.splats.raster import rasterize
from real2sim.twin.color import ColorResponse, to_uint8

KEPT_BACKGROUNDS = 16
"""Of static cameras. A wrist camera's is never asked for twice, and pushes itself out."""
FAR = 100.0
"""Metres: how far what no depth is known of is."""
KEPT_THINGS, STILL = 64, 5
"""Pictures of things in one place that are kept, and decimals, of m, within which a place is the same."""
COATED = 3
"""How many times larger things are drawn whose Gaussians are a coat of their mesh: 3DGS blurs each Gaussian by half a
pixel, which makes a thing of a few pixels twice as large. Gaussians fitted to films have that blur in them."""
SMALLEST_ALPHA = 1e-3
"""What covers less of a pixel has no depth worth sorting by."""


@dataclass(frozen=True)
class Layer:
    """Pictures of one part of `B` scenes: `color` `(B, H, W, 3)` already multiplied by `alpha` `(B, H, W)` in [0, 1];
    `depth` `(B, H, W)` m along the optical axis, of no meaning where alpha is 0."""

    color: Tensor
    depth: Tensor
    alpha: Tensor


@dataclass(frozen=True)
class RobotImages:
    """The robot as its meshes are rendered: `image` `(B, H, W, 3)` uint8, `depth` `(B, H, W)` m, and `mask`
    `(B, H, W)` bool, true on the robot. Raises `InvalidInput` for shapes that disagree."""

    image: Frames
    depth: FloatArray
    mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.image.shape != (*self.mask.shape, 3) or self.depth.shape != self.mask.shape:
            raise InvalidInput(
                f"the robot's image, depth and mask disagree: {self.image.shape}, {self.depth.shape}, {self.mask.shape}"
            )


@dataclass(frozen=True)
class Backdrop:
    """What a camera that stands still shows behind robot and things: `image` `(H, W, 3)` uint8, and how far that is,
    `depth` `(H, W)` m, infinite where it is not known. Its films say it better than Gaussians of it would."""

    image: Frames
    depth: FloatArray


@dataclass(frozen=True)
class Look:
    """What a real camera does to the splats' colours, and to those of the robot's meshes."""

    scene: ColorResponse = field(default_factory=ColorResponse)
    robot: ColorResponse = field(default_factory=ColorResponse)


class _Kept:
    """The last `most` single pictures that were drawn, by what they show."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._layers: OrderedDict[tuple[object, ...], Layer] = OrderedDict()

    def layers(self, keys: Sequence[tuple[object, ...]], draw: Callable[[Sequence[int]], Layer]) -> Layer:
        """The pictures of all `keys`; `draw` draws the rows of those that are not kept, each once."""
        missing: dict[tuple[object, ...], int] = {}
        for row, key in enumerate(keys):
            if key not in self._layers:
                missing.setdefault(key, row)
        if missing:
            drawn = draw(list(missing.values()))
            self._layers.update({key: _row(drawn, index) for index, key in enumerate(missing)})
        for key in keys:
            self._layers.move_to_end(key)
        found = [self._layers[key] for key in keys]
        while len(self._layers) > self._most:
            self._layers.popitem(last=False)
        return Layer(*(torch.stack([getattr(layer, part) for layer in found]) for part in ("color", "depth", "alpha")))


class TwinRenderer:
    """Draws scenes that share a `background` (base frame) and `objects` (each in the frame of its body).

    `looks` and `backdrops` are by camera name; a camera without a look changes nothing. Things are drawn `finer` times
    larger than the pictures, and averaged. All of it happens on `device`, `splat_device` where none is named.
    """

    def __init__(
        self,
        background: Gaussians,
        objects: Mapping[str, Gaussians],
        looks: Mapping[str, Look] | None = None,
        backdrops: Mapping[str, Backdrop] | None = None,
        finer: int = 1,
        device: str | None = None,
    ) -> None:
        self._finer, device = finer, device or splat_device()
        self._background = background.detach().to(device)
        self._objects = {name: gaussians.detach().to(device) for name, gaussians in objects.items()}
        self._looks, self._backdrops = dict(looks or {}), dict(backdrops or {})
        self._backgrounds, self._things = _Kept(KEPT_BACKGROUNDS), _Kept(KEPT_THINGS)

    @torch.no_grad()
    def render(
        self,
        name: str,
        cameras: Sequence[Camera],
        body_to_base: Mapping[str, FloatArray],
        robot: RobotImages | None = None,
    ) -> tuple[Frames, FloatArray]:
        """Frames `(B, H, W, 3)` and depths `(B, H, W)` m (infinite where nothing is) of camera `name` in `B` scenes.

        `cameras` has the camera's pose in each scene; `body_to_base` `(B, 4, 4)` for every object. Raises
        `InvalidInput` for an object without poses, poses that are not rigid, and sizes that disagree.
        """
        look = self._looks.get(name, Look())
        splats = [self._plate(name, len(cameras)) if name in self._backdrops else self._behind(cameras)]
        for body, gaussians in self._objects.items():
            splats.append(self._draw_object(body, gaussians, cameras, body_to_base))
        layers = [_tinted(layer, look.scene) for layer in splats]
        if robot is not None:
            layers.append(_tinted(self._robot_layer(robot, layers[0]), look.robot))
        whole = over_by_depth(layers)
        depth = torch.where(whole.alpha > 0.5, whole.depth, torch.inf)
        return to_uint8(whole.color), np.asarray(depth.cpu().double().numpy())

    def _behind(self, cameras: Sequence[Camera]) -> Layer:
        """The background of each camera, drawn once for those that are one."""
        keys = [_key(camera) for camera in cameras]
        return self._backgrounds.layers(keys, lambda rows: _as_layer(self._background, [cameras[row] for row in rows]))

    def _plate(self, name: str, count: int) -> Layer:
        """A static camera's own picture, for each of `count` scenes."""
        plate, like = self._backdrops[name], self._background.means
        color = torch.from_numpy(plate.image.astype(np.float32) / 255).to(like)
        depth = torch.from_numpy(np.minimum(plate.depth, FAR)).to(like)
        return Layer(*(part.expand(count, *part.shape) for part in (color, depth, torch.ones_like(depth))))

    def _draw_object(
        self, body: str, gaussians: Gaussians, cameras: Sequence[Camera], poses: Mapping[str, FloatArray]
    ) -> Layer:
        if body not in poses:
            raise InvalidInput(f"object {body!r} has no poses; given are those of {sorted(poses) or 'none'}")
        if np.shape(poses[body]) != (len(cameras), 4, 4):
            raise InvalidInput(f"poses of {body!r} must be ({len(cameras)}, 4, 4), not {np.shape(poses[body])}")
        for pose in poses[body]:
            check_rigid(torch.from_numpy(np.asarray(pose, dtype=np.float64)))
        # What lies still before a camera that stands still is drawn once: where it is within `STILL`, whatever was
        # drawn before.
        places = _rounded(poses[body])

        def draw(rows: Sequence[int]) -> Layer:
            from_body = [replace(cameras[row], camera_to_base=_seen_from(places[row], cameras[row])) for row in rows]
            fine = [each.resized(self._finer * each.width, self._finer * each.height) for each in from_body]
            return _coarser(_as_layer(gaussians, fine), self._finer)

        keys = [(body, _key(camera), place.tobytes()) for camera, place in zip(cameras, places, strict=True)]
        return self._things.layers(keys, draw)

    def _robot_layer(self, robot: RobotImages, like: Layer) -> Layer:
        if robot.mask.shape != tuple(like.alpha.shape):
            raise InvalidInput(f"the robot's images are {robot.mask.shape}, the cameras' {tuple(like.alpha.shape)}")
        alpha = torch.from_numpy(robot.mask).to(like.alpha)
        color = torch.from_numpy(robot.image.astype(np.float32) / 255).to(like.color)
        return Layer(color * alpha[..., None], torch.from_numpy(robot.depth).to(like.depth), alpha)


def over_by_depth(layers: Sequence[Layer]) -> Layer:
    """Layers put over each other in every pixel by itself, the nearest in front. Equal depths keep their order.

    The depth is that of the nearest layer that covers at least half of a pixel, else of the most opaque one.
    """
    color, depth, alpha = (
        torch.stack([getattr(layer, part) for layer in layers]) for part in ("color", "depth", "alpha")
    )
    order = torch.where(alpha > SMALLEST_ALPHA, depth, torch.inf).argsort(dim=0, stable=True)
    color = color.gather(0, order[..., None].expand_as(color))
    depth, alpha = depth.gather(0, order), alpha.gather(0, order)
    light = torch.cumprod(torch.cat([torch.ones_like(alpha[:1]), 1 - alpha[:-1]]), dim=0)
    covering = alpha > 0.5
    first = torch.where(covering.any(dim=0), covering.int().argmax(dim=0), alpha.argmax(dim=0))
    return Layer((color * light[..., None]).sum(dim=0), depth.gather(0, first[None])[0], (alpha * light).sum(dim=0))


def _as_layer(gaussians: Gaussians, cameras: Sequence[Camera]) -> Layer:
    seen = rasterize(gaussians, cameras)
    return Layer(seen.color, seen.depth, seen.alpha)


def _coarser(layer: Layer, times: int) -> Layer:
    """Of pictures so many times as large: the mean of what each pixel has become."""
    if times == 1:
        return layer
    batch, height, width = layer.alpha.shape
    cut = (batch, height // times, times, width // times, times)
    alpha = layer.alpha.reshape(cut).mean((2, 4))
    depth = (layer.depth * layer.alpha).reshape(cut).mean((2, 4)) / alpha.clamp(min=1e-6)
    return Layer(layer.color.reshape(*cut, 3).mean((2, 4)), depth, alpha)


def _tinted(layer: Layer, response: ColorResponse) -> Layer:
    """A response holds for a colour, not for its share of a pixel."""
    pure = layer.color / layer.alpha.clamp(min=1e-6)[..., None]
    return replace(layer, color=response.apply(pure) * layer.alpha[..., None])


def _rounded(poses: FloatArray) -> FloatArray:
    """Rigid poses `(B, 4, 4)` to `STILL` decimals. A rounded rotation is none until it is made one again."""
    places = np.round(np.asarray(poses, dtype=np.float64), STILL)
    left, _, right = np.linalg.svd(places[:, :3, :3])
    places[:, :3, :3] = left @ right
    return places


def _seen_from(body_to_base: FloatArray, camera: Camera) -> FloatArray:
    """`(4, 4)`: the camera's pose in a body's frame."""
    return np.asarray(np.linalg.inv(body_to_base) @ camera.camera_to_base)


def _row(layer: Layer, index: int) -> Layer:
    return Layer(layer.color[index], layer.depth[index], layer.alpha[index])


def _key(camera: Camera) -> tuple[object, ...]:
    numbers = (camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    return (*numbers, np.asarray(camera.camera_to_base, dtype=np.float64).tobytes())
