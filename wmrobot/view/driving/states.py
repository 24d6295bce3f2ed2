"""States to fit a decoder on: the robot driven by its prior and at random, beside the window's."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from wmrobot.control.controller import to_tensors
from wmrobot.core.spec import Obs
from wmrobot.envs.vector import VectorEnv
from wmrobot.model.world_model import WorldModel
from wmrobot.runtime.planning.frames import FrameStack
from wmrobot.view.driving.decoder import Decoder, Error, fit

ROWS = 8
DECISIONS = 300
DECISIONS_OF_PICTURES = 60  # drawing them takes longer than all the rest


def learn_decoder(
    model: WorldModel,
    frame_stack: int,
    make_envs: Callable[[int], VectorEnv],
    seed: int,
    beat: Callable[[], None] = lambda: None,
) -> tuple[Decoder, Error] | None:
    """Fit a decoder for a model; None where its task has no MuJoCo scene.

    Args:
        model: Trained model.
        frame_stack: Frames that it sees.
        make_envs: Builds so many environments, stepped in this process.
        seed: Of its random choices.
        beat: Called now and then.
    """
    generator = torch.Generator(device=next(model.parameters()).device).manual_seed(seed)
    with make_envs(ROWS) as env:
        if env.physics(0) is None:
            return None
        z, qpos, qvel = _drive(model, frame_stack, env, generator, beat)
        turns = _turning(env)
    return fit(z, qpos, qvel, turns, generator, beat)


def _turning(env: VectorEnv) -> np.ndarray:
    """(nq,) bool: hinges without limits."""
    import mujoco

    physics = env.physics(0)
    assert physics is not None
    mj = physics.model.ptr
    turns = np.zeros(mj.nq, dtype=np.bool_)
    hinges = (mj.jnt_type == int(mujoco.mjtJoint.mjJNT_HINGE)) & (mj.jnt_limited == 0)
    turns[mj.jnt_qposadr[hinges]] = True
    return turns


@torch.no_grad()
def _drive(
    model: WorldModel,
    frame_stack: int,
    env: VectorEnv,
    generator: torch.Generator,
    beat: Callable[[], None],
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Latents (M, Z), positions (M, nq) and velocities (M, nv) of M states.

    Most rows follow the prior with its own noise, the others are shaken at random now and then: a
    decoder must know the states that a pushed robot gets into.
    """
    device, size = generator.device, (env.num_envs, env.task_spec.action_dim)
    frames = FrameStack(frame_stack)
    latents, positions, velocities = [], [], []
    obs: Obs = env.reset()
    count = DECISIONS_OF_PICTURES if "rgb" in obs else DECISIONS
    for tick in range(count):
        beat()
        z = model.encode(to_tensors(frames.push(obs), device))
        latents.append(z)
        data = [physics.data.ptr for row in range(env.num_envs) if (physics := env.physics(row))]
        positions.append(np.stack([each.qpos for each in data]))
        velocities.append(np.stack([each.qvel for each in data]))
        action = model.propose(z, torch.randn(size, generator=generator, device=device))
        shaken = 2 * torch.rand(size, generator=generator, device=device) - 1
        if tick % 40 < 10:
            action[: size[0] // 4] = shaken[: size[0] // 4]
        step = env.step(action.cpu().numpy())
        obs = step.obs
        frames.reset(np.flatnonzero(step.ended))
    return torch.cat(latents), np.concatenate(positions), np.concatenate(velocities)
