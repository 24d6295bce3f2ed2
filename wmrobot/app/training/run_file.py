"""`run.json`: the settings that a run was begun with, and what made it."""

from pathlib import Path
from typing import Any

from wmrobot.app.run_folder import RUN_FILE
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.config import build, to_plain
from wmrobot.core.errors import CheckpointError, ConfigError
from wmrobot.core.files import read_json, write_json

SCHEMA = 1
SUMMARY_FILE = "summary.json"


def write_settings(folder: Path, cfg: TrainConfig, made: dict[str, Any]) -> None:
    """Keep them beside the run."""
    write_json(folder / RUN_FILE, {"schema": SCHEMA, "settings": to_plain(cfg), "made": made})


def read_settings(folder: Path) -> TrainConfig:
    """Settings that the run was started with.

    Raises:
        CheckpointError: They are malformed, or of a newer schema.
    """
    stored = read_json(folder / RUN_FILE)
    if not isinstance(stored, dict) or not isinstance(stored.get("schema"), int):
        raise CheckpointError(f"{folder / RUN_FILE}: expected an object with a schema, got neither")
    if stored["schema"] > SCHEMA:
        raise CheckpointError(
            f"{folder / RUN_FILE}: schema {stored['schema']} is newer than this wmrobot reads "
            f"({SCHEMA}); update wmrobot"
        )
    try:
        return build(TrainConfig, stored.get("settings", {}))
    except ConfigError as error:
        raise CheckpointError(f"{folder / RUN_FILE}: {error}") from None
