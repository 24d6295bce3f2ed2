"""Create `.venv` and install wmrobot into it for development: what every `make` target starts with.

Standard library only, and old syntax, so that an unsuitable Python can say so in one line.
"""

import argparse
import os
import subprocess
import sys
import time

OLDEST, NEWEST = (3, 11), (3, 13)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TORCH = "torch==2.13.0"
DM_CONTROL = "dm-control==1.0.50"
PLAN = """\
Setting up {venv} with Python {python}: about 90 packages, among them {torch}, mujoco, dm-control.
  Download: about 0.5 GB with a CPU build of torch, 3 GB or more with a CUDA build.
  Which build it is, the package index decides; name another one for torch alone with
  make TORCH_INDEX=<url>. Nothing is installed outside {venv}."""


def main() -> int:
    """Check, announce, install; exit code 2 if this Python will not do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("venv", help="folder of the virtual environment")
    parser.add_argument("--torch-index", default="", help="package index for torch alone")
    arguments = parser.parse_args()
    complaint = unsuitable()
    if complaint:
        print("error: " + complaint, file=sys.stderr)
        return 2
    started = time.time()
    python = ".".join(map(str, sys.version_info[:3]))
    print(PLAN.format(venv=arguments.venv, python=python, torch=TORCH), flush=True)
    try:
        install(os.path.join(ROOT, arguments.venv), arguments.torch_index)
    except subprocess.CalledProcessError as error:
        print("error: this failed: " + " ".join(error.cmd), file=sys.stderr)
        return 1
    seconds = "{:.0f}".format(time.time() - started)
    print("Set up in {} s.".format(seconds))
    with open(os.path.join(ROOT, arguments.venv, "setup_seconds"), "w") as file:
        file.write(seconds)
    return 0


def unsuitable() -> str:
    """Why this Python cannot be used, or an empty string."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return (
            "wmrobot needs Python 3.11 to 3.13, but {} is {}.{}; "
            "name another one with make PYTHON=python3.12"
        ).format(sys.executable, *sys.version_info[:2])
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        return "{} lacks the module {}; on Debian and Ubuntu: apt install python3-venv".format(
            sys.executable, error.name
        )
    return ""


def install(venv: str, torch_index: str) -> None:
    """Fill the virtual environment; safe to call again after an interruption."""
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    # Constraints in the environment hold for the packages that pip builds packages with, too.
    environment = dict(os.environ, PIP_CONSTRAINT=os.path.join(ROOT, "constraints.txt"))
    pip = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    steps = [[*pip, "--editable", ROOT + "[train,export,drive,view,dev]"]]
    if torch_index:
        steps.insert(0, [*pip, "--no-deps", "--index-url", torch_index, TORCH])
    if sys.version_info[:2] >= (3, 13):  # see [project.optional-dependencies] in pyproject.toml
        steps.append([*pip, "--no-deps", DM_CONTROL])
    for step in steps:
        subprocess.run(step, check=True, env=environment)


if __name__ == "__main__":
    sys.exit(main())
