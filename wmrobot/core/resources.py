"""Where configs, tasks and assets lie.

Beside the package in a checkout, inside it in an installed wheel.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def resource_folder(name: str) -> Path:
    """Folder `configs`, `tasks` or `assets`.

    Raises:
        FileNotFoundError: Neither layout has it: the installation is broken.
    """
    for folder in (PACKAGE / "_data" / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"wmrobot's {name} folder is missing: reinstall wmrobot")
