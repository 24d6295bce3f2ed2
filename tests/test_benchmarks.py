"""The scripts of benchmarks/ that want another machine, tried on this one with tiny shapes."""

import ast
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import ablation, gpu, pictures, robustness, scaling
from wmrobot.app import bench
from wmrobot.app.config import load
from wmrobot.app.training.settings import TrainConfig
from wmrobot.envs.registry import make_env

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_script_says_what_it_does(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = script.read_text(encoding="utf-8")
    if "playwright" in source:
        pytest.importorskip("playwright", reason="needs wmrobot[dev]")
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script), run_name="__main__")
    assert not left.value.code
    told = ast.get_docstring(ast.parse(source)) or "nothing"
    assert "".join(told.split()) in "".join(capsys.readouterr().out.split())


def test_without_a_gpu_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([f"out={tmp_path / 'x'}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "error: device: expected a CUDA device, found none; device=cpu tiny=true tries the script "
        "without one\n"
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("word", "wrong"), [("devise=cpu", "devise"), ("stages=all", "all")])
def test_a_mistake_is_told(word: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([word]) == 2
    assert capsys.readouterr().err == (
        f"error: {wrong}: expected out=, device=, stages=, tiny= and stages of tests, bench, "
        "reference, online, pixels\n"
    )


def test_every_stage_names_its_files_once() -> None:
    names = [p.name for s in gpu.STAGES for p in gpu.pieces(s, "cuda", tiny=False)]
    assert len(names) == len(set(names))
    assert {"tests.txt", "reference.json", "pixels-8.json", "online-base.json"} < set(names)
    # three profiles, two precisions, eager and compiled: plans of five numbers of robots, updates
    assert sum(name.startswith("bench-") for name in names) == 12 * (5 + 1)


@pytest.mark.slow
def test_every_command_for_a_gpu_is_understood() -> None:
    """By whoever gets its words, without a GPU; of those that differ in values alone, the last."""
    pieces = [p for s in gpu.STAGES for p in gpu.pieces(s, "cuda", tiny=False)]
    kinds = {tuple(word.partition("=")[0] for word in piece.words): piece for piece in pieces}
    assert len(kinds) == 7  # tests, plan, update, reference, online, env, pixels
    for piece in kinds.values():
        match piece.words:
            case ["-m", "wmrobot", "bench", *words, "--json"]:
                assert load(bench.Config, words).device == "cuda"
            case ["benchmarks/against_reference.py", *words]:
                assert load(bench.Config, words).device == "cuda"
            case ["benchmarks/online.py", *words]:
                assert load(TrainConfig, [w for w in words if "seconds" not in w]).device == "cuda"
            case other:
                assert other == ["-m", "pytest", "-q", "-m", "gpu", "tests/test_gpu.py"]


def test_robustness_leaves_the_observation_as_it_was() -> None:
    told = []
    for what, value, differences, _ in robustness.cases():
        env = make_env("qube2-swingup", seed=0, randomization=differences)
        assert env.task_spec.obs_shapes == {"state": (9,)}
        assert np.isfinite(env.reset()["state"]).all()
        told.append((what, value))
        env.close()
    assert len(told) == len(set(told)) == 18


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven processes, which all load torch
def test_the_script_runs_on_a_cpu_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # its scripts find the package all the same
    words = ["device=cpu", "tiny=true", f"out={tmp_path}", "stages=tests,bench,online,pixels"]
    assert gpu.main(words) == 0, [path.read_text() for path in tmp_path.glob("*.log")]
    told = capsys.readouterr().out
    assert len(told.splitlines()) == 1 + 2 + 1 + 2  # tests, bench, online, pixels
    for path in tmp_path.glob("*.json"):
        assert json.loads(path.read_text())["made"]["device"] == "cpu"
    online = json.loads((tmp_path / "online-nano.json").read_text())
    assert online["decisions_per_s"] > 0
    assert sum(online["share_of_time"].values()) == pytest.approx(1, abs=0.2)
    assert gpu.main(words) == 0
    assert capsys.readouterr().out == ""  # all of it was there


def test_what_fails_leaves_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    piece = gpu.Piece("x.json", ["-c", "print('half'); raise SystemExit('no such thing')"])
    assert not gpu.run(piece, tmp_path)
    assert not (tmp_path / "x.json").exists()
    assert "no such thing" in (tmp_path / "x.log").read_text()
    assert capsys.readouterr().out.startswith(f"x.json: failed, see {tmp_path / 'x.log'}")


def write_case(folder: Path, name: str, case: str, shape: dict[str, object], ms: float) -> None:
    timing = {"p50_ms": ms}
    made = {"cpu": "abacus", "threads": 1, "commit": "0"}
    cases = [{"name": case, "shape": shape, "timing": timing}]
    (folder / f"{name}.json").write_text(json.dumps({"made": made, "cases": cases}))


def test_costs_are_drawn_for_each_robot(tmp_path: Path) -> None:
    write_case(tmp_path, "robots", "plan", {"B": 4, "task": "x"}, 8.0)
    write_case(tmp_path, "samples-64", "plan", {"B": 1, "N": 64}, 2.0)
    write_case(tmp_path, "samples-128", "plan", {"B": 1, "N": 128}, 3.0)
    write_case(tmp_path, "environments", "step", {"B": 8, "task": "cheetah-run"}, 4.0)
    assert scaling.lines(tmp_path, "robots") == [scaling.Line("plan", [4], [2.0])]
    assert scaling.lines(tmp_path, "samples") == [scaling.Line("plan", [64, 128], [2.0, 3.0])]
    (line,) = scaling.lines(tmp_path, "environments")
    assert line == scaling.Line("cheetah-run", [8], [0.5])
    assert scaling.main([str(tmp_path), "draw"]) == 0
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_need_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert pictures.main(["walker-walk"]) == 2
    assert capsys.readouterr().err == "error: expected a file.png, then names of tasks\n"


def returns(*means: float) -> dict[str, dict[int, float]]:
    return {
        f"task {i}": {seed: mean + 5 * (seed - 3) for seed in range(1, 6)}
        for i, mean in enumerate(means)
    }


@pytest.mark.parametrize(
    ("ours", "verdict", "low", "high"),
    [
        ((140.0, 260.0), "on by default", 1.0, 1.0),
        ((100.0, 200.0), "inconclusive: stays off", 0.4, 0.6),
        ((60.0, 150.0), "inconclusive: stays off", 0.0, 0.0),
        ((200.0, 170.0), "inconclusive: stays off", 1.0, 1.0),  # one task is worse by 15%
        ((200.0, 190.0), "on by default", 1.0, 1.0),  # by 5%
    ],
)
def test_a_setting_is_on_only_by_the_rule(
    ours: tuple[float, ...], verdict: str, low: float, high: float
) -> None:
    told = ablation.judge(returns(*ours), returns(100.0, 200.0))
    assert told["verdict"] == verdict
    assert low <= told["probability_of_improvement"] <= high


def test_a_setting_is_not_judged_by_fewer_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seeds in (("plain", 5), ("other", 4)):
        (tmp_path / name).mkdir()
        rows = [f"cheetah-run,{s},finished,50000,{100 + s}.5,9.0," for s in range(seeds)]
        rows.append("cheetah-run,9,failed,20000,,3.0,TrainingError")
        header = "task,seed,state,step,reward,minutes,reason"
        (tmp_path / name / "runs.csv").write_text("\n".join([header, *rows]) + "\n")
    assert ablation.main(["plain", "plain", f"results={tmp_path}"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"]["cheetah-run"]["change_percent"] == 0
    assert ablation.main(["plain", "other", f"results={tmp_path}"]) == 2
    assert capsys.readouterr().err == ("error: cheetah-run: expected 5 finished seeds, got 4\n")
    text = (tmp_path / "plain" / "runs.csv").read_text()
    (tmp_path / "other" / "runs.csv").write_text(text.replace("run,3,fin", "run,8,fin"))
    assert ablation.main(["plain", "other", f"results={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        "error: cheetah-run: expected the seeds of the default, [0, 1, 2, 3, 4], got "
        "[0, 1, 2, 4, 8]\n"
    )
    (tmp_path / "other" / "runs.csv").write_text(text.replace("50000", "100000"))
    assert ablation.main(["plain", "other", f"results={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'other'}: cheetah-run, seed 0: expected a run of 50,000 environment "
        "steps, got 100,000\n"
    )


def test_resampled_means_are_as_far_apart_as_means_are() -> None:
    found = np.array([3.0, 5.0, 4.0, 8.0, 10.0])
    means = ablation._resampled_means(found, np.random.default_rng(0))
    assert means.mean() == pytest.approx(6.0, abs=0.05)
    assert means.std() == pytest.approx(found.std(ddof=1) / np.sqrt(5), rel=0.03)
