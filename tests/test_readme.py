"""What the documents show is what works: their code is run, their commands are understood."""

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import WORDS, write_controller
from wmrobot.app import controllers
from wmrobot.app.cli import VERBS, main
from wmrobot.app.config import load
from wmrobot.app.training.settings import TrainConfig
from wmrobot.envs.registry import make_env
from wmrobot.model.world_model import WorldModel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_ROBOT = (ROOT / "docs" / "own_robot.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PROFILES = ("nano", "small", "base", "large")


def blocks(text: str, language: str) -> list[str]:
    """Fenced blocks of code, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def file_block(text: str, name: str) -> str:
    """The block under a line that ends with the file's name and a colon."""
    found = re.findall(rf"`{re.escape(name)}`:\n\n```\w+\n(.*?)^```$", text, re.M | re.DOTALL)
    assert len(found) == 1, name
    return str(found[0])


def section(title: str) -> str:
    """Text of one section of the README."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def drive() -> np.ndarray:
    """Run the ten lines; returns of the robots."""
    (code,) = blocks(section("Use it as a library"), "python")
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    total = names["total"]
    assert isinstance(total, np.ndarray)
    assert total.shape == (3,)
    return total


@pytest.mark.slow
def test_ten_lines_drive_any_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untrained = write_controller(tmp_path / "controller", "qube2-swingup")
    monkeypatch.setattr(controllers, "shipped_controllers", lambda: {"qube2-swingup": untrained})
    assert (drive() < 150).all()  # of 300: nothing was learned


@pytest.mark.slow
def test_ten_lines_drive_the_shipped_controller() -> None:
    assert drive().mean() > 150  # of 300


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's own robot: its Python file, with the MJCF beside it."""
    folder = tmp_path_factory.mktemp("robot")
    for name in ("my_robot.xml", "my_robot.py"):
        (folder / name).write_text(file_block(README, name), encoding="utf-8")
    rough = file_block(OWN_ROBOT, "my_robot_rough.py")
    (folder / "my_robot_rough.py").write_text(rough, encoding="utf-8")
    return folder / "my_robot.py"


def test_own_robot_takes_under_60_lines() -> None:
    files = [file_block(README, name) for name in ("my_robot.xml", "my_robot.py")]
    assert sum(len(file.splitlines()) for file in files) < 60


def test_own_robot_is_rewarded_at_the_goal(robot: Path) -> None:
    env = make_env(f"{robot}:reach", seed=0, obs="state+rgb")
    spec = env.task_spec
    assert (spec.control_dt, spec.episode_decisions, spec.episodic) == (0.05, 100, False)
    assert (spec.action_dim, spec.obs_shapes["state"]) == (2, (8,))
    assert spec.obs_names[-2:] == ("hand[0]", "hand[1]")
    picture = env.reset()["rgb"]
    assert picture.max() > 100  # the arm is in sight
    # both links are 0.15 m long: the goal at (0.1, 0.2) is reached with the elbow at `bend`
    goal = np.array([0.1, 0.2])
    bend = 2 * np.arccos(np.linalg.norm(goal) / 0.3)
    assert env.physics is not None
    env.physics.data.qpos[:] = np.arctan2(goal[1], goal[0]) - bend / 2, bend
    env.physics.data.qvel[:] = 0
    obs, reward, *_ = env.step(np.zeros(2, np.float32))
    hand = obs["state"][-2:].astype(np.float64)
    np.testing.assert_allclose(hand, goal, atol=1e-4)
    assert reward == 1.0
    env.close()


def test_rough_robot_is_another_at_every_reset(robot: Path) -> None:
    env = make_env(f"{robot.with_name('my_robot_rough.py')}:reach_rough", seed=0)
    assert env.task_spec.obs_shapes["state"] == (8 + 2 * 2,)
    assert env.physics is not None
    masses = set()
    for _ in range(3):
        env.reset()
        masses.add(float(env.physics.named.model.body_mass["lower"]))
    assert len(masses) == 3
    assert all(0.08 <= mass <= 0.12 for mass in masses)
    env.close()


def test_gymnasium_function_of_five_lines(tmp_path: Path) -> None:
    code = file_block(OWN_ROBOT, "my_gym.py")
    assert len([line for line in code.splitlines() if line.strip()]) == 5
    (tmp_path / "my_gym.py").write_text(code, encoding="utf-8")
    env = make_env(f"{tmp_path}/my_gym.py:reacher", seed=3)
    assert (env.task_spec.episodic, env.task_spec.episode_decisions) == (False, 50)
    first = env.reset()["state"]
    assert not np.array_equal(first, env.reset()["state"])
    np.testing.assert_array_equal(first, env.reset(seed=3)["state"])
    idle = np.zeros(env.task_spec.action_dim, np.float32)
    ends = [env.step(idle)[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]
    env.close()
    undeclared = tmp_path / "undeclared.py"
    undeclared.write_text(code.replace("episodic=False", ""), encoding="utf-8")
    env = make_env(f"{undeclared}:reacher", seed=3)
    assert env.task_spec.episodic
    env.close()


@pytest.mark.slow
def test_own_robot_is_trained_and_evaluated(
    robot: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    pace = ("steps=300", "seed_steps=200", "updates_per_decision=0.5", "eval_episodes=2")
    assert main(["train", f"{robot}:reach", f"run={run}", *WORDS, *pace]) == 0
    assert (run / "eval.csv").read_text().splitlines()[1].startswith("300,")
    capfd.readouterr()
    assert main(["evaluate", f"run={run}", "episodes=2", "threads=1", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["task"] == f"{robot}:reach"
    assert [episode["length"] for episode in document["episodes"]] == [100, 100]
    assert all(0 < episode["reward"] <= 100 for episode in document["episodes"])


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_gymnasium_makes_our_tasks(index: int) -> None:
    code = blocks(section("Tasks"), "python")[index]
    code += "\nprint(env.reset(seed=0)[0] in env.observation_space)\nenv.close()"
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("True\n", 0), result.stderr


@pytest.mark.slow
def test_robots_process_drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of docs/deploy.md swings the simulated Qube up, fed by name from its state."""
    from wmrobot.envs.vector import VectorEnv

    monkeypatch.chdir(tmp_path)
    assert main(["export", "qube2-swingup", "out=bundles/qube2", "golden=10", "threads=1"]) == 0
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    code, _ = blocks(text, "python")
    assert len(code.splitlines()) < 40
    names: dict[str, object] = {}
    exec(compile(code, "deploy.md", "exec"), names)
    decide, state = names["decide"], names["state"]
    assert callable(decide)
    sensors = list(getattr(state, "names"))  # noqa: B009
    total = 0.0
    with VectorEnv("qube2-swingup", 1, seed=1) as robot:
        obs = robot.reset()
        for _ in range(robot.task_spec.episode_decisions):
            raw = obs["state"][0, : len(sensors)]
            command = decide(dict(zip(sensors, raw, strict=True)))
            step = robot.step(np.array([[command]], np.float32))
            obs, total = step.obs, total + float(step.reward[0])
    assert total > 200  # of 300
    (short,) = blocks(section("Take it to the robot"), "python")
    given: dict[str, object] = {"state": obs["state"]}
    exec(compile(short, "README.md", "exec"), given)
    assert np.shape(given["action"]) == (1, 1)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_are_understood(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, verb in VERBS.items():
        monkeypatch.setattr(import_module(verb.module), "run", lambda cfg, *, json: 0)
        assert name in section("Commands")
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = "".join(blocks(path.read_text(encoding="utf-8"), "sh"))
    for line in text.replace("\\\n", "").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["wmrobot"]:
            monkeypatch.setenv("DISPLAY", ":0")  # for view=true
            assert main(words[1:]) == 0, line
        elif words[:1] == ["make"]:
            assert words[-1] in targets, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {title.lower().replace(" ", "-") for title in titles}, link


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_are_what_the_table_says(profile: str) -> None:
    cfg = load(TrainConfig, [f"profile={profile}", "task=cartpole-swingup"])
    with torch.device("meta"):
        model = WorldModel(
            cfg.model, obs_shapes={"state": (5,)}, action_dim=1, discount=0.99, episodic=False
        )
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    sizes = cfg.model
    cells = [
        f"{millions:.2f}M" if millions < 1 else f"{millions:.1f}M",
        f"{sizes.latent_dim}, {sizes.mlp_dim}, {sizes.num_q}, {sizes.num_bins}",
        f"{cfg.planner.iterations} x {cfg.planner.num_samples} ({cfg.planner.num_prior})",
    ]
    row = re.search(rf"^\| `{profile}`.*?\| (.*) \|$", section("Profiles and planners"), re.M)
    assert row is not None
    assert row[1].split(" | ") == cells
    assert cfg.planner.horizon == 3


def test_decision_records_are_short_and_numbered() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert records
    numbers = [path.name.partition("-")[0] for path in records]
    assert len(set(numbers)) == len(numbers)
    for number, path in zip(numbers, records, strict=True):
        text = path.read_text(encoding="utf-8")
        assert re.fullmatch(r"\d{4}", number)
        assert text.startswith(f"# {number}: ")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Choice", "Consequence"]
        assert len(text.splitlines()) <= 40
