"""`wmrobot view`: see a robot, and what its planner imagines, in a browser.

Light on purpose: the window's process starts before torch and MuJoCo are imported here.
"""

from wmrobot.app.viewing.settings import ViewConfig as Config


def run(cfg: Config, *, json: bool = False) -> int:
    """Open a window and drive until interrupted."""
    from wmrobot.view.window import Window

    with Window(host=cfg.host, port=cfg.port) as window:
        if cfg.replay is not None:
            from wmrobot.app.viewing.replay import show_recording, stands_alone

            if stands_alone(cfg):
                return show_recording(cfg, window)
        from wmrobot.app.viewing.live import drive

        return drive(cfg, window)
