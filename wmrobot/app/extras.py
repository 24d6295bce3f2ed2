"""Which extra brings a package that is not installed, and how to get it."""

import sys
from collections.abc import Mapping

TRAIN_PACKAGES = (
    "PIL", "dm_control", "dm_env", "filelock", "gymnasium", "hydra", "imageio", "joblib",
    "matplotlib", "mujoco", "omegaconf", "psutil", "pydantic", "safetensors", "scipy",
    "tensorboard", "torch", "tqdm", "yaml",
)  # fmt: skip
EXPORT_PACKAGES = ("onnx", "onnxscript")
DRIVE_PACKAGES = ("mcap", "msgpack")
VIEW_PACKAGES = ("mjviser", "msgspec", "viser", "websockets")
EXTRAS: Mapping[str, str] = {
    **dict.fromkeys(TRAIN_PACKAGES, "train"),
    **dict.fromkeys(EXPORT_PACKAGES, "export"),
    **dict.fromkeys(DRIVE_PACKAGES, "drive"),
    **dict.fromkeys(VIEW_PACKAGES, "view"),
    "wandb": "wandb",
}
"""Which extra brings a package."""


def how_to_install(package: str) -> str:
    """What to install for a package that is not there."""
    extra = EXTRAS[package]
    cure = f'".[{extra}]"'
    if package == "dm_control" and sys.version_info >= (3, 13):
        cure += " && pip install --no-deps dm-control==1.0.50"  # its labmaze has no wheel there
    need = f"this needs wmrobot[{extra}] ({package} is not installed)"
    return f"{need}: pip install {cure} in its checkout"
