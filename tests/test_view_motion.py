"""What the window's process makes of messages: motion, and the place of what is imagined."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from wmrobot.view.layout import Layout
from wmrobot.view.page.imagination import Imagination, find_tips
from wmrobot.view.page.motion import Motion
from wmrobot.view.page.player import Player
from wmrobot.view.page.stage import Stage, model_path
from wmrobot.view.recorded.recording import Recorder

CART = """
<mujoco>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 1"/>
    <body name="cart" pos="0 0 1">
      <joint name="slide" type="slide" axis="1 0 0"/>
      <geom type="box" size=".1 .1 .1"/>
      <body name="pole">
        <joint name="hinge" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0 0 1" size=".02"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.fixture
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(CART)


def test_motion_is_even_between_messages(model: mujoco.MjModel) -> None:
    motion = Motion(model, 0.1)
    assert motion.at(0.0) is None
    for k in range(5):
        motion.add(0.1 * k, np.array([float(k), 0.0]), cut=k == 0)
    seen = [motion.at(0.42 + 0.01 * k)[0] for k in range(5)]  # type: ignore[index]
    steps = np.diff(seen)
    np.testing.assert_allclose(steps, 0.1, atol=0.02)


def test_cut_is_shown_at_once(model: mujoco.MjModel) -> None:
    motion = Motion(model, 0.1)
    motion.add(0.0, np.zeros(2), cut=True)
    motion.add(0.1, np.array([5.0, 0.0]), cut=True)
    np.testing.assert_array_equal(motion.at(0.1), [5.0, 0.0])


def test_motion_rests_when_messages_stop(model: mujoco.MjModel) -> None:
    motion = Motion(model, 0.1)
    motion.add(0.0, np.zeros(2), cut=True)
    motion.add(0.1, np.ones(2), cut=False)
    np.testing.assert_allclose(motion.at(9.0), [1.0, 1.0])


def test_motion_keeps_the_pace_that_it_is_told(model: mujoco.MjModel) -> None:
    motion = Motion(model, 0.05)
    for k in range(60):  # twice as often as the window's decisions come
        motion.add(0.025 * k, np.array([float(k), 0.0]), cut=k == 0, dt=0.025)
    seen = [motion.at(60 * 0.025 - 0.01 + 0.002 * k)[0] for k in range(5)]  # type: ignore[index]
    np.testing.assert_allclose(np.diff(seen), 0.08, atol=0.01)


def test_a_film_of_any_rate_plays_at_true_speed(tmp_path: Path) -> None:
    recorder = Recorder("cart", 0.01)  # more often than a page draws
    for k in range(300):
        recorder.add({"qpos": np.array([float(k), 0.0]), "scene": 1.0})
    recorder.finish().save(tmp_path / "film.npz")
    player, shown = Player(tmp_path / "film.npz"), 0
    for draw in range(45):
        shown += len(list(player.due(5.0 + draw / 45)))
    assert 97 <= shown <= 112


def test_tip_is_the_far_end_of_the_last_body(model: mujoco.MjModel) -> None:
    (tip,) = find_tips(model)
    assert model.body(tip.body).name == "pole"
    np.testing.assert_allclose(tip.offset, [0, 0, 1], atol=1e-6)


def test_imagination_starts_where_the_robot_is(model: mujoco.MjModel) -> None:
    """A decoder that is off by a constant does no harm; what it cannot tell comes from speed."""
    imagination = Imagination(model, np.array([False, True]), control_dt=0.1)
    truth = np.array([[0.3, 0.1 * t] for t in range(4)])
    decoded = np.stack([[9.0, angle + 0.5] for _, angle in truth])[None]
    velocity = np.tile([2.0, 1.0], (1, 4, 1))
    placed = imagination.place(truth[0], decoded, velocity, horizon=2, start=7)
    np.testing.assert_allclose(placed.qpos[0, :, 1], truth[:, 1])
    np.testing.assert_allclose(placed.qpos[0, :, 0], 0.3 + 0.2 * np.arange(4))
    assert placed.tips.shape == (1, 4, 1, 3)
    np.testing.assert_allclose(placed.tips[0, 0, 0], [0.3, 0, 2.0], atol=1e-9)


def test_angles_take_the_short_way_round(model: mujoco.MjModel) -> None:
    imagination = Imagination(model, np.array([True, True]), control_dt=0.1)
    decoded = np.array([[[0.0, 3.1], [0.0, -3.1]]])
    placed = imagination.place(np.zeros(2), decoded, np.zeros((1, 2, 2)), horizon=1, start=0)
    assert placed.qpos[0, 1, 1] == pytest.approx(2 * np.pi - 6.2)


def test_imagination_keeps_score(model: mujoco.MjModel) -> None:
    imagination = Imagination(model, np.array([True, True]), control_dt=0.1)
    decoded = np.array([[[0.0, 0.0], [0.1, 0.0], [0.2, 0.0]]])
    placed = imagination.place(np.zeros(2), decoded, np.zeros((1, 3, 2)), horizon=1, start=0)
    imagination.expect(placed)
    imagination.happened(1, np.array([0.1, 0.0]))
    imagination.happened(2, np.array([0.5, 0.0]))
    assert imagination.errors() == pytest.approx({1: 0.0, 2: 0.3})
    imagination.forget()
    imagination.happened(3, np.zeros(2))
    assert len(imagination.errors()) == 2


def test_model_that_newer_ones_have_replaced_is_passed_over(tmp_path: Path) -> None:
    stage = Stage(None, tmp_path, Layout(title="cart"), lambda *_: None)  # type: ignore[arg-type]
    stage.take({"scene": 3, "tick": 0, "qpos": np.zeros(2), "cut": True}, 0.0)
    stage.draw(0.0)
    assert stage.facts() == {"imagined ends off by": ""}
    model_path(tmp_path, 4).write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="failed to load from mjb"):
        stage.take({"scene": 4, "tick": 0, "qpos": np.zeros(2), "cut": True}, 0.0)
