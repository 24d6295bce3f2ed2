"""What is exported plans what PyTorch plans, for every planner and observation, or not at all."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.bundles import CART, COUNTER, REQUEST, random_facts, shipped_facts, write
from tests.tiny import make_card
from wmrobot.app.cli import main
from wmrobot.app.controllers import KIND, SCHEMA, make_model, read_controller, save_controller
from wmrobot.app.export import _evaluations, gather
from wmrobot.core.errors import CheckpointError
from wmrobot.core.files import seal
from wmrobot.core.spec import ObsMode
from wmrobot.envs.task import Randomization
from wmrobot.export import bundle as writer
from wmrobot.export.bundle import write_bundle
from wmrobot.export.describe import look_at_robot
from wmrobot.export.parity import BOUND, MOST_TIES, ParityError
from wmrobot.export.record import FEWEST, EqualInOrder, TorchPlanner
from wmrobot.plan.config import IcemConfig, MppiConfig, PlannerConfig
from wmrobot.plan.planner import make_rules
from wmrobot.runtime import Planner, Stages
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.runtime.planning.golden import compare, read_golden

SIZES = {"iterations": 2, "num_samples": 16, "num_elites": 6, "num_prior": 2}
PLANNERS = [cls(**SIZES) for cls in get_args(PlannerConfig)]
NO_PRIOR = MppiConfig(**{**SIZES, "num_prior": 0})
ALL_STAY = IcemConfig(**{**SIZES, "keep_fraction": 1.0})
BLENDED = MppiConfig(**{**SIZES, "value_lambda": 0.5})


def document(folder: Path) -> Any:
    return json.loads((folder / "planner.json").read_text(encoding="utf-8"))


def test_report_tells_both_paths(cart_bundle: Path) -> None:
    report = json.loads((cart_bundle / "parity.json").read_text(encoding="utf-8"))
    for path in ("planner.onnx", "stages"):
        assert report[path]["vectors"] == 12
        assert report[path]["max_abs_difference"]["mean"] <= BOUND


def test_fewer_are_recorded_where_plans_take_long(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle", random_facts(), num_vectors=FEWEST + 50, patience_s=0.0)
    golden = read_golden(Bundle.read(folder))
    assert len(list(golden.ticks())) == FEWEST
    assert compare(Planner.load(folder).plan, golden).mean.max() <= BOUND


def test_stages_and_whole_plan_alike(cart_bundle: Path) -> None:
    golden = read_golden(Bundle.read(cart_bundle))
    whole, parts = Planner.load(cart_bundle), Stages.load(cart_bundle)
    for tick in golden.ticks():
        one, other = whole.plan(*tick[:3]), parts.plan(*tick[:3])
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_candidates_that_blow_up_are_counted_as_in_pytorch(cart_bundle: Path) -> None:
    facts = random_facts()
    planner, golden = TorchPlanner(facts.model, make_rules(facts.planner)), None
    golden = read_golden(Bundle.read(cart_bundle))
    tick = next(golden.ticks())
    candidates = tick.noise.candidates.copy()
    candidates[:, :, :5, 1] = np.nan
    candidates[-1, :, 7, 0] = np.nan
    noise = tick.noise._replace(candidates=candidates)
    expected = planner(tick.obs, noise, tick.previous)
    assert expected.num_invalid.tolist() == [6]
    for plan in (Planner.load(cart_bundle).plan, Stages.load(cart_bundle).plan):
        found = plan(tick.obs, noise, tick.previous)
        assert found.num_invalid.tolist() == [6]
        np.testing.assert_allclose(found.mean, expected.mean, atol=BOUND)
        assert np.isfinite(found.spread).all()


def test_spread_is_finite_where_too_few_candidates_are(cart_bundle: Path) -> None:
    tick = next(read_golden(Bundle.read(cart_bundle)).ticks())
    candidates = np.full_like(tick.noise.candidates, np.nan)
    found = Planner.load(cart_bundle).plan(
        tick.obs, tick.noise._replace(candidates=candidates), tick.previous
    )
    assert found.num_invalid.tolist() == [14]  # all but the prior's two, of 4 elites
    assert np.isfinite(found.value).all()
    assert np.isfinite(found.spread).all()


def test_equal_returns_go_by_their_order() -> None:
    returns = torch.tensor([[1.0, 2.0, 2.0, 0.0, 2.0, -torch.inf]])
    with EqualInOrder():
        best = returns.topk(4, dim=1)
    assert best.indices.tolist() == [[1, 2, 4, 0]]
    assert best.values.tolist() == [[2, 2, 2, 1]]


def test_policy_is_the_prior_at_its_mean(cart_bundle: Path) -> None:
    facts = random_facts()
    session = onnxruntime.InferenceSession(str(cart_bundle / "policy.onnx"))
    obs = np.random.default_rng(0).normal(size=(1, *facts.task.obs_shapes["state"]))
    obs = obs.astype(np.float32)
    (found,) = session.run(["actions"], {"obs": obs})
    with torch.inference_mode():
        z = facts.model.encode({"state": torch.tensor(obs)})
        expected = facts.model.propose(z, torch.zeros(1, 1)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    meta = session.get_modelmeta().custom_metadata_map
    assert meta == {
        "run_path": "test",
        "joint_names": "rail",
        "joint_stiffness": "0",
        "joint_damping": "0",
        "default_joint_pos": "0",
        "command_names": "",
        "observation_names": "qpos[0],more[0],more[1]",
        "action_scale": "2",
        "action_offset": "0",
    }


def test_document_tells_what_the_actuators_take(cart_bundle: Path) -> None:
    told = document(cart_bundle)
    assert told["action"]["terms"] == [
        {
            "name": "push", "unit": "N", "scale": 2.0, "offset": 0.0, "limits": [-2.0, 2.0],
            "joint": "rail",
        }
    ]  # fmt: skip
    assert [joint["name"] for joint in told["joints"]] == ["rail"]
    assert told["sim_dt"] == 0.002
    assert told["control_dt"] == pytest.approx(0.008)
    assert told["graphs"]["encode.onnx"]["outputs"] == [
        {"name": "z", "dtype": "float32", "shape": [1, 16]}
    ]
    assert len(told["mjcf_sha256"]) == 64
    assert told["latency_ms"]["p50"] > 0


def test_files_hold_nothing_of_this_machine(cart_bundle: Path) -> None:
    for path in cart_bundle.glob("*.onnx"):
        assert b"/wmrobot" not in path.read_bytes()
        assert {o.version for o in onnx.load(path).opset_import} == {20}


def test_qube_is_described() -> None:
    robot = look_at_robot(shipped_facts("qube2-swingup"))
    assert robot.driven == ("arm_hinge",)
    assert robot.units == (None,)  # a gain stands between command and torque
    arm, pole = robot.joints
    assert (arm["name"], arm["actuators"], arm["damping"]) == ("arm_hinge", ["motor"], 2.1e-4)
    assert (pole["name"], pole["actuators"]) == ("pole_hinge", [])


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="expected a new folder or a bundle to replace"):
        write_bundle(tmp_path, random_facts(), REQUEST)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_a_graph_that_plans_otherwise_is_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = random_facts()

    def make_other_graphs(facts: Any, description: Any) -> Any:
        with torch.no_grad():
            facts.model.prior[-1].bias.add_(0.05)
        try:
            return writer_make_graphs(facts, description)
        finally:
            with torch.no_grad():
                facts.model.prior[-1].bias.sub_(0.05)

    writer_make_graphs = writer.make_graphs
    monkeypatch.setattr(writer, "make_graphs", make_other_graphs)
    with pytest.raises(
        ParityError, match=r"planner\.onnx: expected the plan's mean within 0\.0001"
    ):
        write_bundle(tmp_path / "bundle", facts, REQUEST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("cfg", [*PLANNERS, NO_PRIOR, ALL_STAY, BLENDED], ids=lambda cfg: cfg.kind)
def test_every_planner_is_exported(cfg: PlannerConfig, tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle", random_facts(planner=cfg))
    apart = compare(Planner.load(folder).plan, read_golden(Bundle.read(folder)))
    assert apart.mean.max() <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize(("obs", "batch"), [("rgb", 1), ("state+rgb", 3), ("state+rgb", None)])
def test_pictures_are_exported(obs: ObsMode, batch: int | None, tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle", random_facts("cartpole-swingup", obs), batch=batch)
    told = document(folder)
    (camera,) = told["obs"]["rgb"]["cameras"]
    assert (camera["height"], camera["width"]) == (64, 64)
    assert camera["intrinsics"]["fx"] > 0
    planner = Planner.load(folder)
    golden = read_golden(planner.bundle)
    first = next(golden.ticks())
    assert first.obs["rgb"].shape[1:] == (9, 64, 64)
    apart = compare(planner.plan, golden)
    assert apart.mean.max() <= BOUND


@pytest.mark.slow
def test_any_number_of_robots(tmp_path: Path) -> None:
    """Episodic, without a MuJoCo model, iCEM: what the others leave out."""
    folder = write(tmp_path / "bundle", random_facts(COUNTER, planner=PLANNERS[2]), batch=None)
    told = document(folder)
    assert (told["model"]["episodic"], told["joints"], told["mjcf_sha256"]) == (True, [], None)
    assert told["action"]["terms"][0]["limits"] == [0.0, 4.0]
    planner = Planner.load(folder)
    for batch in (1, 2, 5):
        planner.reset()
        obs = {"state": np.zeros((batch, 3), np.float32)}
        assert planner.act(obs).shape == (batch, 1)


@pytest.mark.slow
def test_a_model_with_bf16_products_is_exported_in_fp32(tmp_path: Path) -> None:
    card = make_card(CART)
    rounded = replace(card, model=replace(card.model, precision="bf16"))
    folder = tmp_path / "controller"
    folder.mkdir()
    trained = make_model(rounded, torch.device("cpu"))
    trained.load_state_dict(random_facts().model.state_dict())
    save_controller(folder, trained, rounded)
    seal(folder, {"kind": KIND, "schema": SCHEMA})
    model, read = read_controller(folder, torch.device("cpu"))
    facts = gather(model, read, folder, planner=read.planner)
    write(tmp_path / "bundle", facts)  # holds its plans against PyTorch's
    z, action = torch.ones(4, 16), torch.full((4, 1), 0.3)
    whole, half = (each.step(z, action)[0] for each in (facts.model, model))
    torch.testing.assert_close(whole, half, rtol=0, atol=0.02)
    assert not torch.equal(whole, half)


@pytest.mark.slow
def test_half_precision_tells_its_effect(tmp_path: Path, cart_bundle: Path) -> None:
    folder = write(tmp_path / "bundle", random_facts(), precision="fp16")
    report = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    assert report["planner.onnx"]["max_abs_difference"]["mean"] <= BOUND
    assert report["fp16"]["mean"]["median"] > 0
    sizes = [(each / "planner.onnx").stat().st_size for each in (folder, cart_bundle)]
    assert sizes[0] < sizes[1]
    assert Planner.load(folder).description.precision == "fp16"


@pytest.mark.slow
def test_history_delay_and_units_are_told(tmp_path: Path) -> None:
    random = Randomization(obs_history=2, previous_actions=1, action_delay=(0, 2))
    facts = random_facts()
    facts = random_facts(
        randomization=random, task=replace(facts.task, obs_shapes={"state": (7,)}, obs_names=())
    )
    told = document(write(tmp_path / "bundle", facts))
    assert told["trained"]["action_delay"] == [0, 2]
    assert told["obs"]["state"]["history"] == 2
    assert len(told["obs"]["state"]["terms"]) == 3


@pytest.mark.slow
def test_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["qube2-swingup", "golden=20", "threads=1", "planner.iterations=2", "num_samples=64"]
    assert main(["export", *words, f"out={tmp_path / 'bundle'}", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["parity"]["planner.onnx"]["vectors"] == 20
    search = Planner.load(tmp_path / "bundle").description.search
    assert (search.iterations, search.num_samples, search.num_elites) == (2, 64, 24)


def test_a_checkpoint_is_told_its_own_evaluation(tmp_path: Path) -> None:
    (tmp_path / "eval.csv").write_text("step,episode_reward\n100,1.5\n200,2.5\n300,3.5\n")
    folder, card = tmp_path / "checkpoints" / "000000120", make_card(CART)
    for step, told in ((240, 2.5), (300, 3.5), (None, 3.5)):  # older ones do not tell their step
        made = {} if step is None else {"step": step}
        (row,) = _evaluations(folder, replace(card, made=made))
        assert row["episode_reward"] == told
    assert _evaluations(folder, replace(card, made={"step": 50})) == ()
    assert _evaluations(tmp_path / "shipped", card) == ()


def test_a_place_that_cannot_be_written_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    out = tmp_path / "bundle"
    assert main(["export", "qube2-swingup", f"out={out}"]) == 2
    assert capsys.readouterr().err == (
        f"error: out: expected a place to write to, got {out}; choose another\n"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "error: export: expected a task or run=<folder>, got neither\n"),
        (["qube2-swingup", "batch=0"], "error: batch: expected at least 1 or dynamic, got 0\n"),
        (
            ["qube2-swingup", "planner.num_elites=500", "out=/nowhere"],
            "error: num_elites: expected at most num_samples=128, got 500\n",
        ),
        (
            ["qube2-swingup", "planner.num_prior=0", "batch=dynamic"],
            "error: batch: expected a number where the prior proposes nothing "
            "(planner.num_prior=0), got dynamic\n",
        ),
    ],
)
def test_user_errors(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *words]) == 2
    assert capsys.readouterr().err == expected


@pytest.mark.slow
@pytest.mark.parametrize("task", ["qube2-swingup", "cartpole-swingup"])
def test_second_runtime_plans_the_same(task: str, tmp_path: Path) -> None:
    """OpenVINO, told to compute in fp32, on the golden vectors; ties excepted."""
    openvino = pytest.importorskip("openvino")
    folder = write(tmp_path / "bundle", shipped_facts(task), num_vectors=100)
    bundle = Bundle.read(folder)
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(folder / "planner.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    names = [port.name for port in bundle.signatures["planner.onnx"].inputs]
    apart = []
    for tick in read_golden(bundle).ticks():
        feed = {f"obs_{k}": v for k, v in tick.obs.items()}
        feed |= {f"noise_{k}": v for k, v in tick.noise._asdict().items()}
        feed |= {f"prev_{k}": v for k, v in tick.previous._asdict().items()}
        found = compiled({name: feed[name] for name in names})
        apart.append(float(np.abs(found["mean"] - tick.expected.mean).max()))
    beyond = np.array(apart) > BOUND
    assert beyond.mean() <= MOST_TIES
    assert np.max(apart) < 0.2
