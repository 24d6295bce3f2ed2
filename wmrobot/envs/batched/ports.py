"""The port of each domain."""

from collections.abc import Callable

from mujoco.batch import Batch

from wmrobot.envs.batched.acrobot import Acrobot
from wmrobot.envs.batched.ball_in_cup import BallInCup
from wmrobot.envs.batched.cartpole import Cartpole
from wmrobot.envs.batched.cheetah import Cheetah
from wmrobot.envs.batched.finger import Finger
from wmrobot.envs.batched.fish import Fish
from wmrobot.envs.batched.hopper import Hopper
from wmrobot.envs.batched.humanoid import Humanoid
from wmrobot.envs.batched.pendulum import Pendulum
from wmrobot.envs.batched.point_mass import PointMass
from wmrobot.envs.batched.port import Port
from wmrobot.envs.batched.quadruped import Quadruped
from wmrobot.envs.batched.reacher import Reacher
from wmrobot.envs.batched.swimmer import Swimmer
from wmrobot.envs.batched.walker import Walker

PORTS: dict[str, Callable[[Batch, str], Port]] = {
    "acrobot": Acrobot,
    "ball_in_cup": BallInCup,
    "cartpole": Cartpole,
    "cheetah": Cheetah,
    "finger": Finger,
    "fish": Fish,
    "hopper": Hopper,
    "humanoid": Humanoid,
    "pendulum": Pendulum,
    "point_mass": PointMass,
    "quadruped": Quadruped,
    "reacher": Reacher,
    "swimmer": Swimmer,
    "walker": Walker,
}
"""By the suite's name of the domain."""
