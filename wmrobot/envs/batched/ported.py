"""What is ported. Light: it is asked before anything of MuJoCo is imported."""

from wmrobot.envs.suite import suite_names

PORTED: dict[str, tuple[str, ...]] = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": (
        "balance",
        "balance_sparse",
        "swingup",
        "swingup_sparse",
        "two_poles",
        "three_poles",
    ),
    "cheetah": ("run",),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("upright", "swim"),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run", "run_pure_state"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("walk", "run"),
    "reacher": ("easy", "hard"),
    "swimmer": ("swimmer6", "swimmer15"),
    "walker": ("stand", "walk", "run"),
}
"""Tasks of each domain, as the suite spells them; each is bit-equal to dm_control."""

RESETS_CHANGE_MODEL = {
    ("finger", "turn_easy"),
    ("finger", "turn_hard"),
    ("fish", "swim"),
    ("point_mass", "hard"),
    ("reacher", "easy"),
    ("reacher", "hard"),
    ("swimmer", "swimmer6"),
    ("swimmer", "swimmer15"),
}
"""Where each row needs a model of its own: a target is moved, motors are mixed anew."""


def is_ported(name: str) -> bool:
    """Whether a task, by its canonical name, can be stepped as a batch."""
    domain, task = suite_names().get(name, ("", ""))
    return task in PORTED.get(domain, ())
