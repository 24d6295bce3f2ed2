"""From words on the command line to settings: `load(TrainConfig, ["task=cup-catch", "horizon=5"])`.

Later layers win: defaults of the dataclasses < `configs/profile/<profile>.yaml` <
`configs/task/<task>.yaml` < `configs/planner/<planner>.yaml` < the user's words. Profile and task
layers are for settings with a field `profile` (a training run). What they say for another planner
than the chosen one is left out.

Hydra parses the words and composes them onto that tree. Its own config groups are not used: a
folder `configs/task` would turn `task=` into a group that accepts listed files only, and choosing
another planner would leave the keys of the previous one behind.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin

from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wmrobot.core.config import (
    alternatives,
    build,
    default_values,
    flatten,
    kinds,
    known_keys,
    to_plain,
)
from wmrobot.core.errors import ConfigError, unknown
from wmrobot.core.resources import resource_folder
from wmrobot.envs.registry import canonical_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Plain = dict[str, Any]
Keys = Mapping[str, Any]

TDMPC2_NAMES: Mapping[str, str] = {
    "planner": "horizon iterations num_samples num_elites min_std max_std",
    "model": "latent_dim mlp_dim enc_dim num_enc_layers num_channels simnorm_dim num_q dropout "
    "num_bins vmin vmax log_std_min log_std_max",
    "learner": "batch_size lr enc_lr_scale grad_clip_norm rho tau consistency_coef reward_coef "
    "value_coef termination_coef entropy_coef discount_denom discount_min discount_max",
    "replay": "buffer_size",
}
ALIASES: Mapping[str, str] = {
    **{name: f"{group}.{name}" for group, names in TDMPC2_NAMES.items() for name in names.split()},
    "num_pi_trajs": "planner.num_prior",
}
"""TD-MPC2's flat names, and where they live here."""

RENAMED: Mapping[str, str] = {
    "temperature": "planner.inverse_temperature",
    "planner.temperature": "planner.inverse_temperature",
}
"""Names that are refused, with what replaces them."""


class Word(NamedTuple):
    """One `name=value` of the user's; the name is the full one, the value as it was typed."""

    name: str
    value: str


def load(cls: type[T], overrides: Sequence[str]) -> T:
    """Compose settings and validate them.

    Args:
        cls: Dataclass of the settings.
        overrides: Words `key=value`; a key may also be one of TD-MPC2's flat names, and the name of
            a choice (`planner=cem`).

    Raises:
        ConfigError: A word is malformed, or names or holds something that is not known.
        TaskError: There are task layers, and no such task.
    """
    keys = known_keys(cls)
    words = [_parse(word, keys) for word in overrides]
    choices = {name: value for name, value in words if _is_choice(name, value, keys)}
    tree = default_values(cls)
    layers = list(_layers(dict(words), tree, keys)) if "profile" in keys else []
    for group in (name for name in tree if kinds(keys[name])):
        wanted = [layer.pop(group) for layer in layers if group in layer]
        tree[group] = _group(group, keys[group], tree[group], wanted, choices.get(group))
        _require_of_kind(words, group, tree[group]["kind"], kinds(keys[group]))
    plain = cast("Plain", OmegaConf.to_container(OmegaConf.merge(tree, *layers)))
    rest = [word for word in words if word.name not in choices]
    return build(cls, _compose(plain, [_grammar(word, keys) for word in rest]))


def show(settings: "DataclassInstance") -> str:
    """All settings as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(to_plain(settings)))


def _parse(word: str, keys: Keys) -> Word:
    """Split `key=value` and find the key's full name."""
    match = re.fullmatch(r"\+{0,2}([A-Za-z_][\w.]*)=(.*)", word, re.DOTALL)
    if match is None:
        raise ConfigError(f"expected key=value, got '{word}'")
    name, value = match.groups()
    if name not in keys and ALIASES.get(name) in keys:
        name = ALIASES[name]
    _require_known(name, keys)
    group = name.removesuffix(".kind")
    if group != name and kinds(keys.get(group)):
        name = group  # `planner.kind=cem` is `planner=cem`
    return Word(name, value)


def _require_known(name: str, keys: Keys) -> None:
    """Refuse a key that is in none of the dataclasses, naming the nearest that is."""
    parents = [name[: dot.start()] for dot in re.finditer(r"\.", name)]
    if name in keys or any(_is_mapping(keys.get(parent)) for parent in parents):
        return
    if RENAMED.get(name) in keys:
        raise ConfigError(f"no setting named '{name}'; here it is called '{RENAMED[name]}'")
    parent, _, last = name.rpartition(".")
    known = [key for key in keys if key.rpartition(".")[0] == parent]
    if not known or not parent:
        known = [key for key in keys if "." not in key]
        known += [alias for alias, target in ALIASES.items() if target in keys]
    elsewhere = [key for key in keys if key.rpartition(".")[2] == last]
    if elsewhere:
        raise ConfigError(f"no setting named '{name}'. Did you mean '{elsewhere[0]}'?")
    raise ConfigError(unknown("setting", name, known))


def _is_mapping(hint: Any) -> bool:
    return any(
        isinstance(get_origin(option), type) and issubclass(get_origin(option), Mapping)
        for option in alternatives(hint)
    )


def _is_choice(name: str, value: str, keys: Keys) -> bool:
    """Whether a word chooses a dataclass by its kind; a kind that does not exist is refused."""
    by_kind = kinds(keys.get(name))
    if not by_kind:
        return False
    if value not in by_kind:
        raise ConfigError(unknown(name, value, by_kind))
    return True


def _require_of_kind(
    words: Sequence[Word], group: str, kind: str, by_kind: Mapping[str, type[Any]]
) -> None:
    """Refuse a setting that only other kinds of a group have than the one that is chosen."""
    settings = {name: set(default_values(cls)) for name, cls in by_kind.items()}
    for name, _ in words:
        parent, _, key = name.partition(".")
        if parent != group or key in settings[kind]:
            continue
        if theirs := [f"{group}={other}" for other in settings if key in settings[other]]:
            whose = " and ".join(theirs)
            raise ConfigError(f"{name}: a setting of {whose}; here it is {group}={kind}")


def _layers(words: Mapping[str, str], defaults: Plain, keys: Keys) -> Iterator[Plain]:
    """The profile's values, then the task's."""
    profile = words.get("profile", defaults.get("profile"))
    folder = resource_folder("configs") / "profile"
    if profile is not None and profile != "null":
        known = [path.stem for path in folder.glob("*.yaml")]
        if profile not in known:
            raise ConfigError(unknown("profile", profile, known))
        yield (layer := _read_layer("profile", profile, keys))
        defaults = defaults | layer
    if task := words.get("task", defaults.get("task")):
        yield _read_layer("task", canonical_name(task), keys)


def _read_layer(folder: str, name: str, keys: Keys) -> Plain:
    """Values of one YAML of `configs/`; none where there is no such file."""
    path = resource_folder("configs") / folder / f"{name}.yaml"
    if re.fullmatch(r"[\w-]+", name) is None or not path.is_file():
        return {}
    try:
        layer = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: expected YAML, got {' '.join(str(error).split())}") from None
    if not isinstance(layer, dict):
        raise ConfigError(f"{path}: expected settings by name, got {layer!r}")
    for group in (name for name in layer if kinds(keys.get(str(name)))):
        if isinstance(layer[group], str):
            layer[group] = {"kind": layer[group]}
    try:
        for key, _ in flatten(cast("Plain", layer)):
            _require_known(key, keys)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return cast("Plain", layer)


def _group(
    name: str, hint: Any, default: Plain, layers: Sequence[Plain], chosen: str | None
) -> Plain:
    """Values of a choice between dataclasses, before the user's words."""
    by_kind = kinds(hint)
    named = [layer["kind"] for layer in (default, *layers) if "kind" in layer]
    kind = chosen or named[-1]
    if kind not in by_kind:
        raise ConfigError(unknown(name, str(kind), by_kind))
    values = default if kind == default["kind"] else default_values(by_kind[kind])
    own = _read_layer(name, kind, known_keys(by_kind[kind]))
    for layer in (*layers, own):
        values = values | {key: value for key, value in layer.items() if key in values}
    return values | {"kind": kind}


def _grammar(word: Word, keys: Keys) -> str:
    """A word as Hydra's grammar wants it: text in quotes, `++` as the key is known to exist."""
    hint = keys.get(word.name)
    texts = [option for option in alternatives(hint) if _is_text(option)]
    nullable = NoneType in alternatives(hint)
    value = word.value
    if texts and len(texts) + nullable == len(alternatives(hint)):
        if not (nullable and value == "null"):
            value = _quote(value)
    else:
        try:
            parsed = OverridesParser.create().parse_override(f"{word.name}={value}")
        except HydraException:
            value = _quote(value)
        else:
            if parsed.is_sweep_override():
                raise ConfigError(
                    f"{word.name}: expected one value, got several: {value}; "
                    f"a list is written [{value}]"
                )
    return f"++{word.name}={value}"


def _is_text(option: Any) -> bool:
    if get_origin(option) is Literal:
        return all(isinstance(choice, str) for choice in get_args(option))
    return option is str or (isinstance(option, type) and issubclass(option, PurePath))


def _quote(value: str) -> str:
    """Text in quotes of Hydra's grammar, where only backslashes before a quote are special."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def _compose(tree: Plain, words: Sequence[str]) -> Plain:
    """Apply the user's words to the tree."""
    ConfigStore.instance().store(name="wmrobot", node=tree)
    outer = GlobalHydra.instance().hydra  # of a program that calls us and uses Hydra itself
    GlobalHydra.instance().clear()
    try:
        with initialize(version_base="1.3", config_path=None):
            composed = compose("wmrobot", overrides=list(words))
        return cast("Plain", OmegaConf.to_container(composed, resolve=False))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(" ".join(str(error).split())) from None
    finally:
        GlobalHydra.instance().hydra = outer
