"""Pictures: identical or near to dm_control's where promised, and there without OpenGL."""

import copy
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wmrobot.core.errors import ConfigError, TaskError
from wmrobot.envs import render
from wmrobot.envs.registry import make_env
from wmrobot.envs.render import Backend, choose_backend, make_renderer
from wmrobot.envs.task import RenderMode

BACKEND = choose_backend()  # before anything imports MuJoCo

import mujoco  # noqa: E402
from dm_control import suite  # noqa: E402

needs_gl = pytest.mark.skipif(BACKEND == "ray", reason="no OpenGL here")


def load(domain: str, task: str, seed: int = 1, decisions: int = 15) -> Any:
    env = suite.load(domain, task, task_kwargs={"random": seed})
    env.reset()
    for _ in range(decisions):
        env.step(np.full(env.action_spec().shape, 0.3))
    return env


def compile_scene(xml: str) -> SimpleNamespace:
    """A physics-like holder of a model given as MJCF, brought to its first state."""
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return SimpleNamespace(model=SimpleNamespace(ptr=model), data=SimpleNamespace(ptr=data))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@needs_gl
@pytest.mark.parametrize(("domain", "task"), [("walker", "walk"), ("cheetah", "run")])
def test_exact_is_dm_control_to_the_pixel(domain: str, task: str) -> None:
    env = load(domain, task)
    renderer = make_renderer(env.physics, height=48, width=64, mode="exact")
    for _ in range(2):
        env.step(np.zeros(env.action_spec().shape))
        expected = env.physics.render(48, 64, camera_id=0)
        np.testing.assert_array_equal(renderer.picture(0), expected)
    np.testing.assert_array_equal(renderer.picture(-1), env.physics.render(48, 64, camera_id=-1))
    renderer.close()
    env.physics.free()


@needs_gl
@pytest.mark.parametrize(("mode", "bound"), [("near", 0.6), ("fast", 10.0), ("ray", 10.0)])
@pytest.mark.parametrize(("domain", "task"), [("walker", "walk"), ("cheetah", "run")])
def test_cheap_modes_stay_close_to_dm_control(
    domain: str, task: str, mode: RenderMode, bound: float
) -> None:
    physics = load(domain, task).physics
    exact = make_renderer(physics, height=64, width=64, mode="exact")
    cheap = make_renderer(physics, height=64, width=64, mode=mode)
    assert distance(exact.picture(0), cheap.picture(0)) < bound
    exact.close()
    cheap.close()


@needs_gl
@pytest.mark.parametrize("mode", ["near", "fast", "ray"])
def test_cheap_rendering_leaves_the_model_and_exact_pictures_alone(mode: RenderMode) -> None:
    env, twin = load("walker", "walk"), load("walker", "walk")
    before = copy.copy(env.physics.model.ptr)
    exact = make_renderer(env.physics, height=64, width=64, mode="exact")
    expected = exact.picture(0)
    cheap = make_renderer(env.physics, height=64, width=64, mode=mode)
    cheap.picture(0)
    np.testing.assert_array_equal(exact.picture(0), expected)
    after = env.physics.model.ptr
    assert str(before.vis.quality) == str(after.vis.quality)
    np.testing.assert_array_equal(before.geom_size, after.geom_size)
    for _ in range(5):
        env.step(np.ones(6))
        twin.step(np.ones(6))
        cheap.picture(0)
    np.testing.assert_array_equal(env.physics.get_state(), twin.physics.get_state())
    exact.close()
    cheap.close()


@pytest.mark.parametrize("mode", ["near", "fast", "ray"])
def test_a_picture_is_a_fresh_contiguous_array(mode: RenderMode) -> None:
    env = load("cartpole", "swingup")
    renderer = make_renderer(env.physics, height=48, width=64, mode=mode)
    first = renderer.picture(0)
    kept = first.copy()
    assert first.shape == (48, 64, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    for _ in range(20):
        env.step(np.ones(1))
    assert distance(renderer.picture(0), kept) > 0
    np.testing.assert_array_equal(first, kept)
    renderer.close()


@pytest.mark.parametrize("mode", ["near", "ray"])
def test_a_renderer_follows_a_reload(mode: RenderMode) -> None:
    domain = suite.cheetah
    physics = load("walker", "walk").physics
    renderer = make_renderer(physics, height=64, width=64, mode=mode)
    renderer.picture(0)
    physics.reload_from_xml_string(*domain.get_model_and_assets())
    fresh = make_renderer(physics, height=64, width=64, mode=mode)
    np.testing.assert_array_equal(renderer.picture(0), fresh.picture(0))
    renderer.close()
    fresh.close()


@pytest.mark.parametrize("mode", ["near", "ray"])
def test_a_renderer_follows_new_terrain(mode: RenderMode) -> None:
    physics = compile_scene(
        """<mujoco><asset><hfield name="h" nrow="8" ncol="8" size="1 1 1 .1"/></asset>
        <worldbody><geom type="hfield" hfield="h"/><camera pos="0 -4 3" xyaxes="1 0 0 0 .6 .8"/>
        </worldbody></mujoco>"""
    )
    renderer = make_renderer(physics, height=32, width=32, mode=mode)
    flat = renderer.picture(0)
    physics.model.ptr.hfield_data[:] = np.linspace(0, 1, 64)
    assert distance(renderer.picture(0), flat) > 5
    renderer.close()


@pytest.mark.parametrize("mode", ["near", "ray"])
def test_an_unknown_camera_is_named_with_the_known_ones(mode: RenderMode) -> None:
    renderer = make_renderer(load("walker", "walk").physics, height=8, width=8, mode=mode)
    with pytest.raises(TaskError, match=r"^no camera named 'bakc'. Did you mean 'back'\? Known: "):
        renderer.picture("bakc")
    with pytest.raises(TaskError, match=r"^camera 7: expected 0 <= camera < 2 \(the model's"):
        renderer.picture(7)


@pytest.mark.parametrize("camera", [0, "above"])
def test_a_model_without_cameras_is_told_so(camera: int | str) -> None:
    cart = f"{Path(__file__).parent / 'fixtures' / 'tiny.py'}:cart"
    with pytest.raises(TaskError) as caught:
        make_env(cart, seed=0, obs="rgb", cameras=[camera])
    assert str(caught.value) == (
        f"camera {camera!r}: the model has no cameras; add <camera> to its MJCF, "
        "or take MuJoCo's free one with cameras=[-1]"
    )
    free = make_env(cart, seed=0, obs="rgb", cameras=[-1], render="ray", image_size=8)
    assert free.reset()["rgb"].shape == (3, 8, 8)
    free.close()


@pytest.fixture
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """As if nothing had been chosen or imported yet; returns the environment variables."""
    environment: dict[str, str] = {}
    monkeypatch.delitem(sys.modules, "dm_control._render", raising=False)
    monkeypatch.setattr(render.os, "environ", environment)
    monkeypatch.setattr(render.sys, "platform", "linux")
    return environment


@pytest.mark.parametrize(
    ("working", "display", "expected"),
    [
        ({"egl", "osmesa"}, False, "egl"),
        ({"osmesa"}, False, "osmesa"),
        ({"glfw", "osmesa"}, True, "glfw"),
        ({"glfw"}, False, "ray"),
    ],
)
def test_the_best_backend_that_draws_is_chosen(
    working: set[str],
    display: bool,
    expected: Backend,
    fresh_process: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(render, "_can_draw", lambda backend: backend in working)
    if display:
        fresh_process["DISPLAY"] = ":0"
    assert choose_backend() == expected
    assert fresh_process["MUJOCO_GL"] == ("off" if expected == "ray" else expected)
    monkeypatch.setattr(render, "_can_draw", lambda _: pytest.fail("asked a second time"))
    assert choose_backend() == expected


def test_no_opengl_is_said_once(
    fresh_process: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(render, "_can_draw", lambda _: False)
    with caplog.at_level(logging.WARNING, logger="wmrobot"):
        assert [choose_backend(), choose_backend()] == ["ray", "ray"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("apt install libegl1 libgl1 (or libosmesa6)")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("vulkan", "MUJOCO_GL: expected egl, osmesa, glfw or off, got 'vulkan'; or unset it"),
        (
            "osmesa",
            "MUJOCO_GL=osmesa: expected a working OpenGL, but it cannot draw here; "
            "apt install libosmesa6, or unset MUJOCO_GL to let wmrobot choose",
        ),
    ],
)
def test_a_bad_wish_is_refused_with_its_cure(
    asked: str, message: str, fresh_process: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "_can_draw", lambda _: False)
    fresh_process["MUJOCO_GL"] = asked
    with pytest.raises(ConfigError) as raised:
        choose_backend()
    assert str(raised.value) == message


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "WMROBOT_GL")}
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LEFT_OPEN = """
import threading
from wmrobot.envs.render import choose_backend, make_renderer
choose_backend()
from dm_control import suite

def draw():
    env = suite.load("cartpole", "swingup")
    env.reset()
    renderers = [make_renderer(env.physics, height=32, width=32, mode=m) for m in ("exact", "near")]
    for renderer in renderers:
        renderer.picture(0)
    return env, renderers

def draw_and_close():
    for renderer in draw()[1]:
        renderer.close()

thread = threading.Thread(target=draw_and_close)
thread.start()
thread.join()
env, renderers = draw()
env.physics.render(32, 32)
print("end")
"""


@needs_gl
@pytest.mark.slow
def test_renderers_left_open_at_exit_say_nothing() -> None:
    result = run(LEFT_OPEN)
    assert (result.stdout, result.stderr, result.returncode) == ("end\n", "", 0)


WITHOUT_GL = """
from wmrobot.envs.render import choose_backend, make_renderer
assert choose_backend() == "ray"
import numpy as np
from wmrobot.envs.registry import make_env

for name in ("cartpole-swingup", "quadruped-escape"):
    env = make_env(name, seed=0)
    env.reset()
    env.step(np.zeros(env.task_spec.action_dim, dtype=np.float32))
    picture = make_renderer(env.physics, height=16, width=16, mode="exact").picture(0)
    assert picture.shape == (16, 16, 3) and picture.std() > 5
"""


@pytest.mark.slow
def test_everything_works_silently_without_opengl() -> None:
    result = run(WITHOUT_GL, MUJOCO_GL="off")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


BALL = '<geom type="sphere" size=".5" rgba="1 0 0 1"/>'
LIT = '<visual><headlight ambient=".6 .6 .6" diffuse=".4 .4 .4"/></visual>'
SKY = '<asset><texture type="skybox" builtin="flat" rgb1="0 0 1" width="16" height="96"/></asset>'
EYE = '<camera name="eye" pos="0 -3 0" xyaxes="1 0 0 0 0 1"/>'


def ray_picture(body: str, height: int = 33, width: int = 33) -> np.ndarray:
    physics = compile_scene(f"<mujoco>{LIT}{SKY}<worldbody>{EYE}{body}</worldbody></mujoco>")
    return make_renderer(physics, height=height, width=width, mode="ray").picture("eye")


def test_rays_see_a_red_ball_before_a_blue_sky() -> None:
    picture = ray_picture(BALL, height=240, width=320)
    np.testing.assert_array_equal(picture[120, 160], (255, 0, 0))  # facing the headlight
    np.testing.assert_array_equal(picture[[0, 0, 239, 239], [0, 319, 0, 319]], [(0, 0, 255)] * 4)
    red = picture[..., 0] > picture[..., 2]
    assert red.sum(axis=0).max() == pytest.approx(98, abs=2)  # 2 r f / sqrt(d^2 - r^2) pixels
    assert red.sum(axis=1).max() == pytest.approx(98, abs=2)


def test_a_side_turned_away_is_darker() -> None:
    row = ray_picture(BALL, 99, 99)[49, :, 0].astype(int)
    assert row[49] == 255
    red = np.flatnonzero(row)
    assert 150 < row[red[0]] < 190  # ambient 153 and hardly any diffuse light at the edge
    assert (np.diff(row[red[0] : 50]) >= 0).all()


def test_a_box_hides_what_is_behind_it() -> None:
    box = '<geom type="box" pos="0 -1 0" size=".6 .1 .6" rgba="0 1 0 1"/>'
    picture = ray_picture(BALL + box)
    np.testing.assert_array_equal(picture[16, 16], (0, 255, 0))
    assert not (picture[..., 0] > 0).any()


def test_a_site_hides_a_geom_and_is_hidden_by_one() -> None:
    front = '<site type="box" pos="-.2 -1 0" size=".15 .1 .1" rgba="0 1 0 1"/>'
    behind = '<site type="sphere" pos=".2 1 0" size=".1" rgba="1 1 0 1"/>'
    picture = ray_picture(BALL + front + behind)
    green = np.argwhere(picture[..., 1] > 100)
    assert green.size
    assert (green[:, 1] < 17).all()
    assert (picture[16, 18:20, 0] > 200).all()
    assert (picture[16, 18:20, 1] == 0).all()


@needs_gl
@pytest.mark.parametrize("size", ["3 3 .1", "2.5 1 .1", "0 0 .1"])
@pytest.mark.parametrize("uniform", ["true", "false"])
def test_a_checker_floor_has_its_squares_where_opengl_has_them(size: str, uniform: str) -> None:
    physics = compile_scene(
        f"""<mujoco><visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual>
        <asset><texture name="t" type="2d" builtin="checker" rgb1="1 0 0" rgb2="0 1 0" width="64"
        height="64"/><material name="m" texture="t" texrepeat="3 2" texuniform="{uniform}"
        specular="0"/></asset><worldbody><geom type="plane" size="{size}" material="m"/>
        <camera pos=".1 .2 3"/></worldbody></mujoco>"""
    )
    exact = make_renderer(physics, height=128, width=128, mode="exact")
    ray = make_renderer(physics, height=128, width=128, mode="ray")
    assert distance(exact.picture(0), ray.picture(0)) < 6  # edges only: a wrong square is 170
    exact.close()


def test_rays_repeat_themselves() -> None:
    physics = load("walker", "walk").physics
    pictures = [
        make_renderer(physics, height=32, width=32, mode="ray").picture(0) for _ in range(2)
    ]
    np.testing.assert_array_equal(*pictures)
