"""Compiled planning and learning against the plain ones; what is compiled, and what is said."""

import copy
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.doubles import STATE, random_batch, tiny_model
from wmrobot.app import compiling
from wmrobot.app.compiling import MIN_UPDATES, Compilation
from wmrobot.app.training.rehearsal import _update
from wmrobot.control.controller import Controller
from wmrobot.core.random import make_generator
from wmrobot.learn.config import LearnerConfig
from wmrobot.learn.learner import Learner
from wmrobot.plan.config import MppiConfig

CPU = torch.device("cpu")


def test_short_runs_are_not_compiled() -> None:
    short = Compilation("auto", CPU, MIN_UPDATES - 1)
    assert not short.on
    assert short.told == "not compiled: fewer than 10,000 updates do not earn it back"


def test_what_was_asked_for_is_done() -> None:
    asked = Compilation(False, CPU, 1e9)
    assert not asked.on
    assert asked.told == "not compiled, as asked"
    assert asked(min) is min


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda _: None)
    for choice in ("auto", True):
        compilation = Compilation(choice, CPU, MIN_UPDATES)  # type: ignore[arg-type]
        assert not compilation.on
        assert compilation.told == ("not compiled: no C++ compiler here (Debian: apt install g++)")


def test_without_headers_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda _: "/usr/bin/g++")
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda _: str(tmp_path))
    compilation = Compilation("auto", CPU, MIN_UPDATES)
    assert compilation.told == (
        "not compiled: no Python headers here (Debian: apt install python3-dev)"
    )


def test_on_a_gpu_it_must_be_asked_for() -> None:
    compilation = Compilation("auto", torch.device("cuda"), 1e9)
    assert compilation.told == "not compiled: compile=true asks for it on cuda"


def test_a_compiler_that_fails_leaves_everything_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    def broken() -> None:
        raise BackendCompilerFailed(min, RuntimeError("g++: out of memory"), None)

    monkeypatch.setattr(compiling, "_missing", lambda: "")
    monkeypatch.setattr(compiling.torch, "compile", lambda function, **_: None)
    compilation = Compilation(True, CPU, 1)
    wrapped = compilation(min)
    compilation.rehearse(broken)
    assert not compilation.on
    assert compilation.told == "not compiled: the compiler failed (g++: out of memory)"
    assert wrapped(3, 2) == 2
    assert (
        capsys.readouterr().err
        == "  compiling, a minute or more the first time (compile=false goes without)\n"
    )


def test_many_numbers_of_robots_are_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """All planners are one function to torch, which by itself gives up after 8 programs."""
    whole = torch.compile

    def without_inductor(function: Any, *, options: Any, **kept: Any) -> Any:
        return whole(function, backend="eager", **kept)

    monkeypatch.setattr(compiling, "_missing", lambda: "")
    monkeypatch.setattr(compiling.torch, "compile", without_inductor)
    double = Compilation(True, CPU, 1)(partial(torch.mul, torch.tensor(2.0)))
    for robots in range(2, 14):
        assert double(torch.ones(robots)).tolist() == [2.0] * robots


def test_what_compiling_leaves_behind_is_never_looked_through_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    monkeypatch.setattr(compiling, "_missing", lambda: "")
    monkeypatch.setattr(compiling.gc, "collect", lambda: done.append("collect"))
    monkeypatch.setattr(compiling.gc, "freeze", lambda: done.append("freeze"))
    Compilation(True, CPU, 1).rehearse(lambda: done.append("call"))
    assert done == ["call", "collect", "freeze"]


@pytest.mark.slow  # to import the compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_the_compilers_advice_to_round_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called as on a GPU that could; all else that warns still does."""
    from torch._inductor import compile_fx

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(compiling.torch, "compile", lambda function, **_: None)
    monkeypatch.setattr(compiling, "_missing", lambda: "")
    advise = compile_fx._warn_tf32_disabled.__wrapped__  # which is told once in a process
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=compiling.ADVICE):
            advise()
        Compilation(True, CPU, 1)(min)
        advise()
        with pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of what its compiler imports
@pytest.mark.skipif(bool(compiling._missing()), reason="needs a C++ compiler")
def test_compiled_runs_equal_plain_ones() -> None:
    """Losses, gradients and plans, on the same noise, before and after the weights change."""
    compilation = Compilation(True, CPU, 1)
    model = tiny_model(trained=True, episodic=True)
    batch = random_batch()
    learners, controllers = [], []
    for compiler in (compilation, Compilation(False, CPU, 1)):
        own = copy.deepcopy(model)
        cfg = LearnerConfig(td_lambda=0.95, batch_size=4)
        learners.append(Learner(own, cfg, make_generator(0, "learner"), compiler))
        controllers.append(
            Controller(
                own,
                MppiConfig(iterations=2, num_samples=16, num_elites=4, num_prior=3),
                obs_shapes=STATE,
                action_dim=2,
                num_q=3,
                frame_stack=1,
                generator=make_generator(0, "planner"),
                compiler=compiler,
            )
        )
    obs = {"state": batch.obs["state"][0].numpy()}
    for _ in range(3):
        fast, plain = (learner.update(batch) for learner in learners)
        for name, value in plain.items():
            torch.testing.assert_close(fast[name], value, rtol=1e-4, atol=1e-4)
        for controller in controllers:
            controller.act(obs)
        torch.testing.assert_close(
            controllers[0].plan.mean, controllers[1].plan.mean, rtol=0, atol=1e-4
        )
    assert compilation.on


def test_an_update_that_a_compiler_breaks_off_leaves_nothing() -> None:
    learner = Learner(tiny_model(trained=True), LearnerConfig(), make_generator(0, "learner"))
    weights = copy.deepcopy(learner.model.state_dict())

    def broken(*_: object) -> None:
        raise RuntimeError("g++: killed")

    learner._prior_gradients = broken  # type: ignore[assignment]
    with pytest.raises(RuntimeError):
        _update(learner, random_batch())
    for name, value in learner.model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert all(p.requires_grad and p.grad is None for p in learner.model.parameters())
