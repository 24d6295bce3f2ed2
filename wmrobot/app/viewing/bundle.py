"""A bundle in the window: its own planner, in a simulation where there is one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wmrobot.app.viewing.settings import ViewConfig
from wmrobot.core.config import build
from wmrobot.core.errors import ConfigError, TaskError
from wmrobot.core.spec import FloatArray, Obs, Step, TaskSpec
from wmrobot.envs.registry import make_env
from wmrobot.envs.task import Randomization
from wmrobot.envs.vector import VectorEnv
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.runtime.planning.golden import read_golden
from wmrobot.runtime.planning.planner import Planner
from wmrobot.view.driving.mind import BundleMind
from wmrobot.view.driving.rig import MakeEnv


class RecordedEnv:
    """Shows a planner the observations that came with its bundle, whatever it does.

    For bundles whose task is not here: their curves can still be looked at. Rewards are NaN, for
    none is known.

    Args:
        spec: What is known of the task.
        obs: (T, ...) observations by modality.
    """

    def __init__(self, spec: TaskSpec, obs: Mapping[str, np.ndarray]) -> None:
        self.task_spec, self._obs = spec, obs
        self._tick = 0

    def reset(self) -> Obs:
        """Begin with the first one."""
        self._tick = 0
        return self._now()

    def step(self, actions: FloatArray) -> Step:
        """Go on to the next one; after the last the first comes again."""
        length = self.task_spec.episode_decisions
        self._tick += 1
        ended = np.array([self._tick >= length])
        final, none = self._now(), np.zeros(1, dtype=np.bool_)
        if ended[0]:
            self._tick = 0
        reward = np.full(1, np.nan, np.float32)
        return Step(
            obs=self._now(), reward=reward, terminated=none, truncated=ended, final_obs=final
        )

    def physics(self, row: int = 0) -> None:
        """There is none."""

    def close(self) -> None:
        """Nothing to free."""

    def _now(self) -> Obs:
        index = min(self._tick, self.task_spec.episode_decisions - 1)
        return {name: value[index : index + 1] for name, value in self._obs.items()}


def load_bundle(cfg: ViewConfig) -> tuple[BundleMind, MakeEnv, dict[str, str]]:
    """A bundle's planner, what it drives, and what to say of it.

    Raises:
        BundleError: The bundle is missing or altered.
        ConfigError: It plans for several robots at once, or was made for another task.
    """
    assert cfg.bundle is not None
    bundle = Bundle.read(cfg.bundle)
    told = bundle.description
    if told.batch not in (None, 1):
        raise ConfigError(
            f"bundle: expected one for one robot, got one for {told.batch}; export with batch=1"
        )
    if cfg.task is not None and cfg.task != told.task:
        raise ConfigError(f"{cfg.bundle}: expected a bundle of {cfg.task}, got one of {told.task}")
    mind = BundleMind(planner=Planner(bundle, threads=max(cfg.threads, 1), seed=cfg.seed))
    facts = {"controller": f"bundle {cfg.bundle}, its settings are fixed"}
    options = _options(told.document)
    try:
        make_env(told.task, seed=0, **options).close()
    except TaskError as error:
        spec, obs = _recorded(bundle)
        facts["no simulation"] = f"recorded observations are shown to it ({error})"
        return mind, lambda seed: RecordedEnv(spec, obs), facts  # type: ignore[return-value]
    return mind, lambda seed: VectorEnv(told.task, 1, seed=seed, **options), facts


def _options(document: Mapping[str, Any]) -> dict[str, Any]:
    """How the task's environment was built for the bundle."""
    seen = document["obs"]
    options: dict[str, Any] = {
        "obs": "+".join(sorted(seen, key=("state", "rgb").index)),
        "randomization": build(Randomization, document["trained"]),
    }
    if "rgb" in seen:
        rgb = seen["rgb"]
        options |= {"image_size": rgb["shape"][1], "render": rgb["render"]}
        options["cameras"] = tuple(camera["name"] for camera in rgb["cameras"])
    return options


def _recorded(bundle: Bundle) -> tuple[TaskSpec, dict[str, np.ndarray]]:
    """The bundle's golden observations, and a task made of them."""
    told = bundle.description
    if told.pictures is not None:
        raise ConfigError(
            f"bundle: its task {told.task} is not here, and it sees pictures: nothing to show it"
        )
    ticks = list(read_golden(bundle).ticks())
    obs = {"state": np.concatenate([tick.obs["state"][:1] for tick in ticks])}
    spec = TaskSpec(
        name=told.task,
        obs_shapes=told.obs_shapes,
        action_dim=told.action_dim,
        control_dt=told.control_dt,
        action_repeat=1,
        episode_decisions=len(ticks),
        episodic=False,
        action_names=tuple(term.name for term in told.actions),
    )
    return spec, obs
