"""`wmrobot drive`: drive a robot in real time with an exported planner, or replay such a drive.

Everything that a robot's computer needs for it is in `wmrobot[drive]`: no Hydra, torch or MuJoCo.
"""

from wmrobot.app.driving.settings import EXIT_CODES
from wmrobot.app.driving.settings import DriveConfig as Config
from wmrobot.app.output import emit, output_folder
from wmrobot.core.errors import ConfigError
from wmrobot.core.spec import file_name


def run(cfg: Config, *, json: bool = False) -> int:
    """Drive, or replay a drive."""
    if cfg.replay is not None:
        from wmrobot.app.driving.replay import run_replay

        return run_replay(cfg, json=json)
    if cfg.bundle is None:
        raise ConfigError("bundle: expected a folder, got none; wmrobot export writes one")
    import wmrobot.runtime.wire.datagrams  # noqa: F401 - says at once what is not installed
    from wmrobot.app.driving.report import make_document, tell, write_page
    from wmrobot.app.driving.run import Drive
    from wmrobot.runtime.planning.stages import Stages

    if cfg.view:
        from wmrobot.view.window import check_extra

        check_extra()
    stages = Stages.load(cfg.bundle, threads=cfg.threads)
    name = file_name(stages.description.task)
    out = output_folder("out", cfg.out or f"runs/drive-{name}")
    drive = Drive(cfg, stages, out)
    try:
        drive.run()
    finally:
        if drive.driver is not None:
            document = make_document(drive)
            page = write_page(out, document, drive.driver.log)
            if json:
                emit(document)
            else:
                tell(document, page)
    return EXIT_CODES.get(drive.why_over, 0)
