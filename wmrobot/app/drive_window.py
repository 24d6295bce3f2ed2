"""The window of `wmrobot drive view=true`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wmrobot.app.scenes import TaskScene, find_scene
from wmrobot.runtime.description import Description
from wmrobot.runtime.drive_log import DriveLog
from wmrobot.runtime.driver import Driver

if TYPE_CHECKING:
    from wmrobot.app.drive_robot import Config
    from wmrobot.view.window import Window

DISCOUNT = 0.99
"""Where a bundle tells none."""
BY_WINDOW = "window"
"""What ended a drive that was stopped there."""


class DriveWindow:
    """An open window, and who tells it.

    Args:
        window: The window.
        scene: What the robot can be drawn with.
        log: What the drive counts.
        simulated: Whether the robot may be reset at any time.
    """

    def __init__(
        self, window: "Window", scene: TaskScene, log: DriveLog, *, simulated: bool
    ) -> None:
        from wmrobot.view.drive_show import DriveShow
        from wmrobot.view.driven import live_controls

        self._window, self._scene, self._simulated = window, scene, simulated
        controls = live_controls(simulated=simulated, follow=scene.follows)
        values = {each.name: each.default for each in controls if each.kind != "button"}
        self.show = DriveShow(window, log, values)

    def begin(self, driver: Driver, say: Callable[[str], None]) -> None:
        """A robot has been greeted: draw it if it can be drawn, and let people stop it."""
        robot = driver.robot
        drawn, told = self._scene.judge(robot.pose_dim, robot.mjcf_sha256)
        drawn = drawn and self._window.is_open
        number = self._window.publish_model(self._scene.model) if drawn else None
        if told:
            self._window.publish({"say": told})
        actions: dict[str, Callable[[], None]] = {"stop": lambda: driver.ask_to_end(BY_WINDOW)}
        if self._simulated:
            actions["episode"] = driver.ask_for_episode
        self.show.say = say
        self.show.begin(robot.control_dt, number, actions)

    def summary(self) -> dict[str, Any]:
        """For the report: readings that were shown, and those that were not."""
        return {
            "shown": self.show.shown,
            "not_shown": self.show.skipped,
            "outlived_the_drive": not self.show.is_gone,
        }


@contextmanager
def open_window(
    cfg: "Config", description: Description, log: DriveLog
) -> Iterator[DriveWindow | None]:
    """Open the window of a drive, where one is asked for; its process ends with the drive.

    Args:
        cfg: Settings of the drive.
        description: Of its planner.
        log: What it counts.

    Raises:
        MissingExtraError: A package of `[view]` is not installed.
        ConfigError: The window could not listen where it should.
    """
    if not cfg.view:
        yield None
        return
    from wmrobot.app.announce import announce
    from wmrobot.view.driven import live_controls, make_layout
    from wmrobot.view.window import Window

    with Window(host=cfg.host, port=cfg.port) as window:
        scene = find_scene(description.task)
        simulated = cfg.robot == "sim"
        layout = make_layout(
            f"{plain_name(description.task)} on {cfg.robot}",
            description.control_dt,
            live_controls(simulated=simulated, follow=scene.follows),
            action_names=tuple(term.name for term in description.actions),
            discount=discount_of(description),
            follows=scene.follows,
        )
        window.open(layout)
        announce(window, f"{description.task}, driven in real time,", open_it=cfg.open)
        yield DriveWindow(window, scene, log, simulated=simulated)


def discount_of(description: Description) -> float:
    """Weight of the next decision's value, as the planner's model was trained with."""
    model = description.document.get("model")
    told = model.get("discount") if isinstance(model, dict) else None
    return float(told) if isinstance(told, int | float) and 0 < told <= 1 else DISCOUNT


def plain_name(task: str) -> str:
    """A task's name as a title or a file's name."""
    return task.rpartition("/")[2].replace(":", "-")
