"""The robot between two decisions: what was received is replayed one decision later, smoothly.

Decisions come at 20 to 100 a second and messages in bursts; a page draws at its own pace.
"""

import mujoco
import numpy as np

CATCH_UP = 0.05  # share of the error by which the clock is corrected with each message


class Motion:
    """Joint positions at any moment of the page's clock.

    Args:
        model: The robot.
        control_dt: Time between two messages' states [s].
    """

    def __init__(self, model: mujoco.MjModel, control_dt: float) -> None:
        self._model, self._dt = model, control_dt
        self._states: list[tuple[float, np.ndarray]] = []  # by due time [s], oldest first
        self._rate = np.zeros(model.nv)

    def add(self, now: float, qpos: np.ndarray, *, cut: bool, dt: float | None = None) -> None:
        """Take the next state.

        Args:
            now: When it came [s].
            qpos: (nq,).
            cut: Whether it has nothing to do with the last one.
            dt: Time until the next one [s], where that is told.
        """
        self._dt = dt or self._dt
        if cut or not self._states:
            self._states = [(now + self._dt, np.array(qpos, dtype=np.float64))]
            return
        # In even steps, so that a message that came late does not make the robot stutter.
        due = self._states[-1][0] + self._dt
        due += CATCH_UP * (now + self._dt - due)
        if abs(due - now) > 4 * self._dt:  # it paused, or jumped
            due = now + self._dt
        self._states = [*self._states[-8:], (due, np.array(qpos, dtype=np.float64))]

    def at(self, now: float) -> np.ndarray | None:
        """Joint positions (nq,) to draw; None before the first state."""
        if not self._states:
            return None
        while len(self._states) > 1 and self._states[1][0] <= now:
            self._states.pop(0)
        begin, start = self._states[0]
        if len(self._states) == 1:
            return start
        end, goal = self._states[1]
        share = min(max((now - begin) / max(end - begin, 1e-6), 0.0), 1.0)
        mujoco.mj_differentiatePos(self._model, self._rate, 1.0, start, goal)
        between = start.copy()
        mujoco.mj_integratePos(self._model, between, self._rate, share)
        return between
