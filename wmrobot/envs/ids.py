"""Gymnasium ids: `wmrobot/<task>-v0` for every listed task.

Importing this module registers them, as is Gymnasium's custom and nowhere else ours; nothing that
simulates is imported before an environment is made. Gymnasium before 1.0 does it by itself, through
the entry point `gymnasium.envs`; since then one of these is needed:

    import wmrobot.envs.ids  # once, before gymnasium.make("wmrobot/walker-run-v0")
    gymnasium.make("wmrobot.envs.ids:wmrobot/walker-run-v0")
"""

import gymnasium

from wmrobot.envs.registry import task_names

NAMESPACE = "wmrobot"


def register_ids() -> None:
    """Register every listed task that is not registered yet."""
    for name in task_names():
        env_id = f"{NAMESPACE}/{name}-v0"
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="wmrobot.envs.as_gymnasium:WmrobotEnv",
                kwargs={"task": name},
            )


register_ids()
