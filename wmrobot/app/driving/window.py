"""The window of `wmrobot drive view=true`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wmrobot.app.viewing.scenes import TaskScene, find_scene
from wmrobot.core.spec import file_name
from wmrobot.runtime.bundle.description import Description
from wmrobot.runtime.driving.drive_log import DriveLog
from wmrobot.runtime.driving.driver import Driver
from wmrobot.view.hindsight import discount_of

if TYPE_CHECKING:
    from wmrobot.app.driving.settings import DriveConfig
    from wmrobot.view.window import Window

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
        from wmrobot.view.controls import defaults
        from wmrobot.view.drive_layout import live_controls
        from wmrobot.view.driving.drive_show import DriveShow

        self._window, self._scene, self._simulated = window, scene, simulated
        controls = live_controls(
            simulated=simulated, follow=scene.follows, drawn=scene.model is not None
        )
        values = defaults(controls)
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
    cfg: "DriveConfig", description: Description, log: DriveLog
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
    from wmrobot.app.viewing.announce import announce
    from wmrobot.view.drive_layout import live_controls, make_layout
    from wmrobot.view.window import Window

    with Window(host=cfg.host, port=cfg.port) as window:
        scene = find_scene(description.task)
        simulated = cfg.robot == "sim"
        layout = make_layout(
            f"{file_name(description.task)} on {cfg.robot}",
            description.control_dt,
            live_controls(simulated=simulated, follow=scene.follows, drawn=scene.model is not None),
            action_names=tuple(term.name for term in description.actions),
            discount=discount_of(description),
            follows=scene.follows,
        )
        window.open(layout)
        announce(window, f"{description.task}, driven in real time,", open_it=cfg.open)
        yield DriveWindow(window, scene, log, simulated=simulated)
