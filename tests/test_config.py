"""Settings: validated, reopened exactly, composed from words on the command line."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hypothesis import given
from hypothesis import strategies as st

from wmrobot.app import config as app_config
from wmrobot.app.config import ALIASES, RENAMED, load
from wmrobot.app.training.settings import TrainConfig
from wmrobot.core.config import build, default_values, flatten, kinds, known_keys, to_plain
from wmrobot.core.errors import ConfigError, TaskError
from wmrobot.core.resources import resource_folder


@dataclass(frozen=True, kw_only=True)
class Search:
    horizon: int = 3
    min_std: float = 0.05
    max_std: float = 2.0

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ConfigError(f"horizon: expected at least 1, got {self.horizon}")
        if self.min_std > self.max_std:
            raise ConfigError(f"expected min_std <= max_std, got {self.min_std}, {self.max_std}")


@dataclass(frozen=True, kw_only=True)
class Cem(Search):
    kind: Literal["cem"] = "cem"


@dataclass(frozen=True, kw_only=True)
class Mppi(Search):
    kind: Literal["mppi"] = "mppi"
    inverse_temperature: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Learner:
    lr: float = 3e-4
    batch_size: int = 256


@dataclass(frozen=True, kw_only=True)
class Range:
    target: str
    low: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    task: str
    profile: str = "tiny"
    obs: Literal["state", "rgb", "state+rgb"] = "state"
    cameras: tuple[int | str, ...] = (0,)
    size: tuple[int, int] = (64, 64)
    data: Path | None = None
    steps: int = 100
    compile: bool = False
    planner: Cem | Mppi = field(default_factory=lambda: Mppi(horizon=4))
    learner: Learner = Learner()
    scales: dict[str, float] = field(default_factory=dict)
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bare:
    task: str = "cartpole-swingup"
    planner: Cem | Mppi = field(default_factory=Mppi)
    data: Path | None = None
    note: str = ""
    count: int = 0


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes one YAML into a `configs` folder that stands in for the real one."""

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    write("profile/tiny.yaml", "")
    monkeypatch.setattr(app_config, "resource_folder", lambda _: tmp_path)
    return write


def message(cause: Callable[[], object], error: type[Exception] = ConfigError) -> str:
    with pytest.raises(error) as caught:
        cause()
    return str(caught.value)


# --- core/config ---------------------------------------------------------------------------------


def test_plain_values_become_nested_dataclasses() -> None:
    values = {
        "task": "walker-run",
        "cameras": [0, "side"],
        "data": "runs/a b",
        "steps": 1e6,
        "learner": {"lr": 1},
        "planner": {"kind": "cem", "horizon": 5},
        "ranges": [{"target": "body_mass[arm]", "low": 0.9}],
    }
    settings = build(Settings, values)
    assert settings == Settings(
        task="walker-run",
        cameras=(0, "side"),
        data=Path("runs/a b"),
        steps=1_000_000,
        learner=Learner(lr=1.0),
        planner=Cem(horizon=5),
        ranges=(Range(target="body_mass[arm]", low=0.9),),
    )
    assert isinstance(settings.steps, int)
    assert isinstance(settings.learner.lr, float)


def test_absent_values_come_from_the_owners_default() -> None:
    planner = build(Settings, {"task": "t", "planner": {"min_std": 0.1}}).planner
    assert planner == Mppi(horizon=4, min_std=0.1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "task: expected a value, got none"),
        ({"task": 3}, "task: expected text, got 3"),
        ({"steps": "3"}, "steps: expected a whole number, got '3'"),
        ({"steps": 2.5}, "steps: expected a whole number, got 2.5"),
        ({"steps": True}, "steps: expected a whole number, got True"),
        ({"compile": 1}, "compile: expected true or false, got 1"),
        ({"learner": {"lr": math.nan}}, "learner.lr: expected a finite number, got nan"),
        ({"learner": 3}, "learner: expected a group of settings, got 3"),
        ({"obs": "rbg"}, "obs: expected one of state, rgb, state+rgb, got 'rbg'"),
        ({"cameras": 0}, "cameras: expected a list, each a whole number or text, got 0"),
        ({"size": [1]}, "size: expected a list [a whole number, a whole number], got [1]"),
        ({"data": 1}, "data: expected a path or null, got 1"),
        ({"planner": {"horizon": 0}}, "planner.horizon: expected at least 1, got 0"),
        (
            {"planner": {"min_std": 3}},
            "planner: expected min_std <= max_std, got 3.0, 2.0",
        ),
        (
            {"planner": {"kind": "cemm"}},
            "no planner named 'cemm'. Did you mean 'cem'? Known: cem, mppi",
        ),
        (
            {"learner": {"batchsize": 3}},
            "no setting named 'learner.batchsize'. Did you mean 'learner.batch_size'? "
            "Known: learner.batch_size, learner.lr",
        ),
        ({"ranges": [{"low": 1}]}, "ranges[0].target: expected a value, got none"),
    ],
)
def test_wrong_value_is_refused_by_its_full_name(values: dict[str, Any], expected: str) -> None:
    whole = values if not values or "task" in values else {"task": "t", **values}
    assert message(lambda: build(Settings, whole)) == expected


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Settings,
        task=st.text(),
        cameras=st.lists(st.integers() | st.text()).map(tuple),
        data=st.none() | st.just(Path("a/b.c")),
        steps=st.integers(),
        compile=st.booleans(),
        planner=st.builds(Cem, horizon=st.integers(1)) | st.builds(Mppi, horizon=st.integers(1)),
        learner=st.builds(Learner, lr=finite),
        scales=st.dictionaries(st.text(), finite),
        ranges=st.lists(st.builds(Range, target=st.text(), low=finite)).map(tuple),
    )
)
def test_saved_settings_reopen_exactly(settings: Settings) -> None:
    text = json.dumps(to_plain(settings))
    assert build(Settings, json.loads(text)) == settings


def test_every_key_is_known_whatever_the_choice() -> None:
    keys = known_keys(Settings)
    assert {"learner.lr", "planner.kind", "planner.inverse_temperature", "planner"} <= set(keys)
    assert dict(flatten(default_values(Settings))).keys() - {"scales"} <= set(keys)


# --- app/config ----------------------------------------------------------------------------------


def test_later_layers_win(configs: Callable[[str, str], None]) -> None:
    configs(
        "profile/nano.yaml", "steps: 1\nlearner: {lr: 1.0, batch_size: 1}\nplanner: {horizon: 7}"
    )
    configs("task/walker-run.yaml", "learner: {lr: 2.0}\nplanner: {max_std: 4.0, horizon: 8}")
    configs("planner/cem.yaml", "kind: cem\nhorizon: 9")

    def composed(*words: str) -> Settings:
        return load(Settings, words)

    assert composed("task=cup-catch").planner == Mppi(horizon=4)
    assert composed("task=cup-catch", "profile=nano").planner == Mppi(horizon=7)
    walker = composed("task=walker-run", "profile=nano")
    assert (walker.steps, walker.learner) == (1, Learner(lr=2.0, batch_size=1))
    assert walker.planner == Mppi(horizon=8, max_std=4.0)
    cem = composed("task=Walker_Run", "profile=nano", "planner=cem")
    assert cem.planner == Cem(horizon=9, max_std=4.0)
    mine = composed("planner.horizon=10", "task=walker-run", "profile=nano", "planner=cem")
    assert mine.planner == Cem(horizon=10, max_std=4.0)


def test_another_planner_brings_its_own_defaults(configs: Callable[[str, str], None]) -> None:
    configs("profile/tiny.yaml", "planner: {inverse_temperature: 9.0, min_std: 0.5}")
    assert load(Settings, ["task=cup-catch", "planner=cem"]).planner == Cem(min_std=0.5)
    assert load(Settings, ["task=cup-catch", "planner.kind=cem"]).planner == Cem(min_std=0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "lerner: {lr: 1}",
            r".*tiny\.yaml: no setting named 'lerner.lr'. Did you mean 'learner.lr'\?",
        ),
        ("- 1", r".*tiny\.yaml: expected settings by name, got \[1\]"),
        ("a: [", r".*tiny\.yaml: expected YAML, got .*"),
    ],
)
def test_malformed_layer_is_named(
    configs: Callable[[str, str], None], text: str, expected: str
) -> None:
    configs("profile/tiny.yaml", text)
    assert re.fullmatch(expected, message(lambda: load(Settings, ["task=cup-catch"])))


@pytest.mark.parametrize(
    "text",
    [
        "path/to/my robot.py:reach",
        "gym:Pendulum-v1",
        "a=b",
        "it's",
        'say "no"',
        "back\\slash\\",
        "\\'",
        "${oc.env:HOME}",
        "a,b",
        "[1]",
        "{a: 1}",
        "null",
        "",
        "3",
        "π",
        "line\nbreak",
    ],
)
def test_any_text_arrives_as_it_was_typed(text: str) -> None:
    assert load(Bare, [f"note={text}"]).note == text


@pytest.mark.slow
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_text_is_never_interpreted(text: str) -> None:
    assert load(Bare, [f"note={text}"]).note == text


def test_null_and_lists_and_new_keys_need_no_plus(configs: Callable[[str, str], None]) -> None:
    words = ["task=cup-catch", "data=null", "cameras=[0,side]", "scales.mass=0.9", "+steps=1e3"]
    settings = load(Settings, words)
    assert settings.data is None
    assert settings.cameras == (0, "side")
    assert settings.scales == {"mass": 0.9}
    assert settings.steps == 1000


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("fast", "expected key=value, got 'fast'"),
        ("~note", "expected key=value, got '~note'"),
        ("count=a b(c", "count: expected a whole number, got 'a b(c'"),
        ("count=", "count: expected a whole number, got ''"),
        (
            "count=1,2",
            "count: expected one value, got several: 1,2; a list is written [1,2]",
        ),
        ("planner=cemm", "no planner named 'cemm'. Did you mean 'cem'? Known: cem, mppi"),
        ("inverse_temperature=1", "no setting named 'inverse_temperature'. "
         "Did you mean 'planner.inverse_temperature'?"),
        (
            "temperature=1",
            "no setting named 'temperature'; here it is called 'planner.inverse_temperature'",
        ),
        (
            "horzon=1",
            "no setting named 'horzon'. Did you mean 'horizon'? "
            "Known: count, data, horizon, max_std, min_std, note, planner, task",
        ),
        (
            "planner.horzon=1",
            "no setting named 'planner.horzon'. Did you mean 'planner.horizon'? Known: "
            "planner.horizon, planner.inverse_temperature, planner.kind, planner.max_std, "
            "planner.min_std",
        ),
        ("hydra.run.dir=x", "no setting named 'hydra.run.dir'. "
         "Known: count, data, horizon, max_std, min_std, note, planner, task"),
    ],
)  # fmt: skip
def test_wrong_word_is_answered_with_the_cure(word: str, expected: str) -> None:
    assert message(lambda: load(Bare, [word])) == expected


def test_setting_of_another_planner_is_refused() -> None:
    words = ["planner=cem", "planner.inverse_temperature=1"]
    assert message(lambda: load(Bare, words)) == (
        "planner.inverse_temperature: a setting of planner=mppi; here it is planner=cem"
    )


def test_unknown_profile_and_task_offer_the_nearest(configs: Callable[[str, str], None]) -> None:
    assert message(lambda: load(Settings, ["task=cup-catch", "profile=tyni"])) == (
        "no profile named 'tyni'. Did you mean 'tiny'? Known: tiny"
    )
    text = message(lambda: load(Settings, ["task=cup-cach"]), TaskError)
    assert text.startswith("no task named 'cup-cach'. Did you mean 'cup-catch'?")


def test_program_that_uses_hydra_itself_is_left_alone() -> None:
    ConfigStore.instance().store(name="theirs", node={"a": 1})
    with initialize(version_base="1.3", config_path=None):
        assert load(Bare, ["count=3"]).count == 3
        assert compose("theirs").a == 1


# --- the house's own settings --------------------------------------------------------------------


@pytest.mark.parametrize("alias", [*ALIASES, *RENAMED])
def test_every_alias_leads_somewhere(alias: str) -> None:
    assert (ALIASES.get(alias) or RENAMED[alias]) in known_keys(TrainConfig)


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_no_alias_hides_a_setting(alias: str) -> None:
    assert alias not in known_keys(TrainConfig)


@pytest.mark.parametrize(
    ("folder", "name"),
    [(path.parent.name, path.stem) for path in sorted(resource_folder("configs").glob("*/*.yaml"))],
)
def test_every_yaml_composes(folder: str, name: str) -> None:
    words = {"task": "cup-catch", folder: name}
    settings = load(TrainConfig, [f"{key}={value}" for key, value in words.items()])
    assert build(TrainConfig, to_plain(settings)) == settings


def test_every_planner_has_a_yaml() -> None:
    files = {path.stem for path in (resource_folder("configs") / "planner").glob("*.yaml")}
    assert files == set(kinds(known_keys(TrainConfig)["planner"]))
