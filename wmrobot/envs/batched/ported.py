"""What is ported. Light: it is asked before anything of MuJoCo is imported."""

from wmrobot.envs.suite import SUITE, suite_names

_WHOLE_DOMAINS = (
    "acrobot", "ball_in_cup", "cartpole", "cheetah", "finger", "fish", "hopper", "humanoid",
    "pendulum", "point_mass", "reacher", "swimmer", "walker",
)  # fmt: skip
PORTED = {domain: SUITE[domain] for domain in _WHOLE_DOMAINS} | {"quadruped": ("walk", "run")}
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
