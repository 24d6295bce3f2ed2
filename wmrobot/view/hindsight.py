"""What a plan expected, beside the reward of the decision that it was made for.

A plan of a deadline loop takes effect some ticks after its reading, and a reading tells the reward
of the decision that ends with it. So the two meet some readings later.
"""

from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.robot import Phase

DISCOUNT = 0.99
"""Where nothing tells another one."""
EARNED = "earned return"
RETURN_STEPS = 20
"""Rewards that were really earned, in the return that a plan is compared with."""
REMEMBERED = 64  # decisions; no plan is made for one that is further ahead


class Hindsight:
    """Pairs rewards with expected returns, of one robot."""

    def __init__(self) -> None:
        self._expected: dict[int, float] = {}  # by the decision that a plan takes effect at
        self._episode: int | None = None

    def begins(self, episode: int) -> bool:
        """Whether an episode is another than the last one; then all is forgotten."""
        if episode == self._episode:
            return False
        self._episode = episode
        self._expected.clear()
        return True

    def planned(self, phase: Phase, decision: int, lead: int, value: float) -> None:
        """A plan was made.

        Args:
            phase: Of its reading; what a robot that is ready is sent takes effect as it starts.
            decision: That its reading began.
            lead: Ticks from the reading to the plan.
            value: Return that it expects.
        """
        start = decision + lead if phase is Phase.RUNNING else 0
        self._expected[start] = value
        while len(self._expected) > REMEMBERED:
            del self._expected[next(iter(self._expected))]

    def expected(self, decision: int) -> float | None:
        """Return that was expected from a decision on; None where no plan took effect at it."""
        return self._expected.get(decision)


def discount_of(description: Description) -> float:
    """Weight of the next decision's value, as the planner's model was trained with."""
    model = description.document.get("model")
    told = model.get("discount") if isinstance(model, dict) else None
    return float(told) if isinstance(told, int | float) and 0 < told <= 1 else DISCOUNT
