"""What the page draws of a robot: messages of its own model only, and nothing that is over."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest

pytest.importorskip("viser", reason="needs wmrobot[view]")

from wmrobot.view.layout import SELDOM, Layout
from wmrobot.view.page import stage as stage_module
from wmrobot.view.page.stage import Stage, model_path

DT = 0.02


class Drawn:
    """A scene that remembers what it was last asked to draw."""

    newest: "Drawn"

    def __init__(self, server: Any, model: mujoco.MjModel, *, follows: bool) -> None:
        self.model, self.follows = model, follows
        self.shows_shadows = self.shows_ghost = self.shows_lines = True
        self.qpos: np.ndarray | None = None
        self.mocap = self.imagined = None
        Drawn.newest = self

    def draw(self, qpos: np.ndarray, mocap: Any, imagined: Any) -> None:
        self.qpos, self.mocap, self.imagined = qpos, mocap, imagined

    def on_pull(self, pull: Callable[[int, np.ndarray], None]) -> None: ...

    def set_shadows(self, shown: bool) -> None: ...


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """With models 1 and 2 on disk, of so many joints."""
    monkeypatch.setattr(stage_module, "Scene", Drawn)
    for joints in (1, 2):
        bodies = "".join(
            f"<body><joint type='slide' axis='{axis}'/><geom size='.1'/></body>"
            for axis in ("1 0 0", "0 1 0")[:joints]
        )
        model = mujoco.MjModel.from_xml_string(
            f"<mujoco><worldbody>{bodies}<body mocap='{str(joints == 2).lower()}'>"
            "<geom size='.1'/></body></worldbody></mujoco>"
        )
        mujoco.mj_saveModel(model, str(model_path(tmp_path, joints)), None)
    server: Any = SimpleNamespace()
    return Stage(server, tmp_path, Layout(title="x", control_dt=DT), lambda body, force: None)


def place(tick: int, joints: int = 1, **more: Any) -> dict[str, Any]:
    return {"tick": tick, "scene": joints, "qpos": np.full(joints, 0.5), **more}


def imagination(start: int, joints: int = 1) -> dict[str, Any]:
    return {
        "imagined_qpos": np.zeros((1, 3, joints)), "imagined_qvel": np.zeros((1, 3, joints)),
        "imagined_start": np.zeros(joints), "imagined_from": start, "imagined_horizon": 1,
    }  # fmt: skip


def show(stage: Stage, *messages: dict[str, Any], now: float = 0.0) -> Drawn:
    """Take messages, and draw a while later."""
    for message in messages:
        stage.take(message, now)
    stage.draw(now + 1.0)
    return Drawn.newest


def test_messages_of_another_model_are_dropped(stage: Stage) -> None:
    show(stage, {"imagined_seen": np.ones(1, np.bool_)}, place(0))
    late = {**place(1), "qpos": np.zeros(2)}
    drawn = show(stage, late, imagination(0, joints=2), now=1.0)
    np.testing.assert_array_equal(drawn.qpos, [0.5])  # type: ignore[arg-type]
    assert drawn.imagined is None
    drawn = show(stage, place(2, mocap_pos=np.zeros((1, 3)), mocap_quat=np.zeros((1, 4))), now=2.0)
    assert drawn.mocap is None
    assert show(stage, imagination(2), now=3.0).imagined is None  # tick 2 was dropped
    assert show(stage, imagination(0), now=4.0).imagined is not None


def test_what_the_decoder_of_another_model_sees_is_no_use(stage: Stage) -> None:
    show(stage, {"imagined_seen": np.ones(1, np.bool_)}, place(0))
    assert show(stage, place(0, joints=2), imagination(0, joints=2), now=1.0).imagined is None


def test_a_model_that_is_gone_already_leaves_what_is_drawn(stage: Stage, tmp_path: Path) -> None:
    model_path(tmp_path, 1).unlink()
    stage.take(place(0), 0.0)  # two newer ones have come since
    stage.draw(1.0)
    drawn = show(stage, place(5, joints=2), now=1.0)
    assert drawn.model.nq == 2
    assert show(stage, place(6), now=2.0) is drawn
    np.testing.assert_array_equal(drawn.qpos, [0.5, 0.5])  # type: ignore[arg-type]


def test_mocap_bodies_of_the_last_model_are_forgotten(stage: Stage) -> None:
    target = {"mocap_pos": np.zeros((1, 3)), "mocap_quat": np.zeros((1, 4))}
    assert show(stage, place(0, joints=2, **target)).mocap is not None
    assert show(stage, place(0), now=1.0).mocap is None


@pytest.mark.parametrize(("control_dt", "lasts"), [(0.02, 11), (0.05, 5), (0.5, 2)])
def test_what_was_imagined_stays_until_the_next_one_must_have_come(
    control_dt: float, lasts: int, stage: Stage, tmp_path: Path
) -> None:
    layout = Layout(title="x", control_dt=control_dt)
    stage = Stage(stage._server, tmp_path, layout, lambda body, force: None)
    show(stage, {"imagined_seen": np.ones(1, np.bool_)}, place(0), imagination(0))
    assert lasts * control_dt > SELDOM
    assert show(stage, place(lasts), now=1.0).imagined is not None
    assert show(stage, place(lasts + 1), now=2.0).imagined is None


@pytest.mark.parametrize("over", [{"anew": True}, place(2, cut=True)])
def test_what_is_over_is_not_shown(stage: Stage, over: dict[str, Any]) -> None:
    seen = {"imagined_seen": np.ones(1, np.bool_)}
    drawn = show(stage, seen, place(0), imagination(0), place(1), place(2))
    assert drawn.imagined is not None
    assert stage.facts()["imagined ends off by"] == "50.0 cm 1 ahead, 50.0 cm 2 ahead"
    assert show(stage, over, now=1.0).imagined is None
    if "anew" in over:  # how true another one's imagination was
        assert stage.facts() == {"imagined ends off by": ""}
