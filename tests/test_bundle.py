"""What a robot refuses: every altered, inconsistent or foreign bundle, in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.bundles import edit, reseal
from wmrobot.runtime import Planner
from wmrobot.runtime.bundle.folder import MANIFEST, Bundle
from wmrobot.runtime.errors import BundleError

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def bundle(cart_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cart_bundle, tmp_path / "bundle"))


def refusal(folder: Path, **expect: Any) -> str:
    with pytest.raises(BundleError) as error:
        Planner.load(folder, **expect)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_bundle(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x") == f"{tmp_path / 'x'}: expected a bundle, found no such folder"
    assert refusal(tmp_path) == f"{tmp_path}: expected a bundle with a manifest.json, found none"


def test_an_altered_byte(bundle: Path) -> None:
    path = bundle / "planner.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert refusal(bundle) == (
        f"{path}: altered (its SHA-256 is not the manifest's); use another bundle"
    )


def test_a_missing_file(bundle: Path) -> None:
    (bundle / "step.onnx").unlink()
    expected = f"{bundle / 'step.onnx'}: listed in the manifest, but missing; use another bundle"
    assert refusal(bundle) == expected
    reseal(bundle)
    assert refusal(bundle) == f"{bundle}: expected step.onnx, found none; export it again"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_additional_file(bundle: Path, kind: str) -> None:
    path = bundle / "plugin.so"
    path.mkdir() if kind == "folder" else path.write_bytes(b"\x7fELF")
    assert refusal(bundle) == f"{path}: not in the bundle's manifest; remove it"


def test_a_link_is_not_followed(bundle: Path, tmp_path: Path) -> None:
    path = bundle / "step.onnx"
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert refusal(bundle).startswith(f"{path}: expected a plain file (")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/b", "..", ""])
def test_paths_that_leave_the_folder(bundle: Path, name: str) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["sha256"][name] = "0" * 64
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    assert refusal(bundle) == f"{MANIFEST}: expected names of files in the bundle, got {name!r}"


def test_newer_schemas(bundle: Path) -> None:
    edit(bundle, lambda document: document.update(schema=2))
    assert refusal(bundle) == (
        "planner.json: schema 2 is newer than this wmrobot reads (1); update wmrobot"
    )
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["schema"] = 2
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    assert refusal(bundle) == (
        f"{bundle}: schema 2 is newer than this wmrobot reads (1); update wmrobot"
    )


def with_external_data(folder: Path) -> None:
    """Weights that onnxruntime would read from another file."""
    path = folder / "planner.onnx"
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    path.write_bytes(model.SerializeToString())
    reseal(folder)


def test_external_data(bundle: Path) -> None:
    with_external_data(bundle)
    assert refusal(bundle) == (
        "planner.onnx: expected one file that is complete, got external data"
    )


@pytest.mark.parametrize("where", ["attribute", "sparse", "subgraph"])
def test_external_data_deeper_within(bundle: Path, where: str) -> None:
    tensor = TensorProto(name="x", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    graph = helper.make_graph([], "inner", [], [], [tensor])
    attribute = {"attribute": {"value": tensor}, "subgraph": {"body": graph}}.get(where, {})
    model = onnx.load(bundle / "step.onnx")
    model.graph.node.append(helper.make_node("Constant", [], ["spare"], **attribute))
    if where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    (bundle / "step.onnx").write_bytes(model.SerializeToString())
    reseal(bundle)
    assert refusal(bundle) == "step.onnx: expected one file that is complete, got external data"


def test_fields_whose_number_only_others_would_cut_to_32_bits(bundle: Path) -> None:
    key = 25 << 3 | 2 | 1 << 32  # 25 is a function of its own, for who keeps 32 bits
    hidden = bytes(
        [key & 0x7F | 0x80, *(key >> n & 0x7F | 0x80 for n in (7, 14, 21)), key >> 28, 0]
    )
    path = bundle / "step.onnx"
    path.write_bytes(path.read_bytes() + hidden)
    reseal(bundle)
    assert refusal(bundle) == "step.onnx: expected an ONNX file, got something else"


def test_a_name_that_no_file_can_have(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["sha256"]["a\0b"] = manifest["sha256"]["step.onnx"]
    (bundle / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    assert "expected a plain file (embedded null byte)" in refusal(bundle)


def test_operators_and_functions_of_others(bundle: Path) -> None:
    path = bundle / "step.onnx"
    original = onnx.load(path)
    model = onnx.ModelProto()
    model.CopyFrom(original)
    model.graph.node.append(helper.make_node("Run", [], ["spare"], domain="com.example"))
    path.write_bytes(model.SerializeToString())
    reseal(bundle)
    assert refusal(bundle) == (
        "step.onnx: expected ONNX's own operators, got those of 'com.example'"
    )
    original.functions.add(name="f")
    path.write_bytes(original.SerializeToString())
    reseal(bundle)
    assert refusal(bundle) == (
        "step.onnx: expected one file that is complete, got functions of its own"
    )


@pytest.mark.parametrize("content", [b"", b"\x00", b"MZ" * 50, b"\x3a\xff\xff\xff\xff\x0f"])
def test_no_graphs(bundle: Path, content: bytes) -> None:
    (bundle / "planner.onnx").write_bytes(content)
    reseal(bundle)
    assert refusal(bundle).startswith("planner.onnx: expected an ONNX ")


def test_graphs_that_changed_places(bundle: Path) -> None:
    shutil.copy(bundle / "encode.onnx", bundle / "planner.onnx")
    reseal(bundle)
    assert refusal(bundle).startswith("planner.onnx: inputs: expected ")


def test_weights_that_are_not_numbers(bundle: Path) -> None:
    model = onnx.load(bundle / "planner.onnx")
    largest = max(model.graph.initializer, key=lambda tensor: tensor.ByteSize())
    value = np.full_like(onnx.numpy_helper.to_array(largest), np.nan)
    largest.CopyFrom(onnx.numpy_helper.from_array(value, largest.name))
    (bundle / "planner.onnx").write_bytes(model.SerializeToString())
    reseal(bundle)
    assert refusal(bundle).startswith("planner.onnx: expected a finite plan for an observation of")


def test_joints_in_another_order(bundle: Path) -> None:
    def add_joint(document: dict[str, Any]) -> None:
        document["joints"].append({**document["joints"][0], "name": "lift"})

    edit(bundle, add_joint)
    Planner.load(bundle, expect_joints=["rail", "lift"])
    assert refusal(bundle, expect_joints=["lift", "rail"]) == (
        "joints: the planner was made for ['rail', 'lift'], got ['lift', 'rail']; bring the "
        "robot's joints into that order, or export for this robot"
    )


def test_another_control_rate(bundle: Path) -> None:
    Planner.load(bundle, expect_control_dt=0.008)
    assert refusal(bundle, expect_control_dt=0.02) == (
        "control_dt: the planner was made for 0.008 s between decisions, got 0.02 s; run the robot "
        "at that rate, or export for this one"
    )
    assert refusal(bundle, expect_control_dt=float("nan")).startswith("control_dt: ")


def term(document: dict[str, Any]) -> dict[str, Any]:
    return document["action"]["terms"][0]  # type: ignore[no-any-return]


def sensor(document: dict[str, Any]) -> dict[str, Any]:
    return document["obs"]["state"]["terms"][0]  # type: ignore[no-any-return]


NAN, INF = float("nan"), float("inf")
INCONSISTENT: dict[str, Change] = {
    "action scale NaN": lambda d: term(d).update(scale=NAN),
    "action scale inf": lambda d: term(d).update(scale=INF),
    "action scale 0": lambda d: term(d).update(scale=0.0),
    "action scale of another range": lambda d: term(d).update(scale=3.0),
    "limits inverted": lambda d: term(d).update(limits=[2.0, -2.0]),
    "limits equal": lambda d: term(d).update(limits=[2.0, 2.0]),
    "limits NaN": lambda d: term(d).update(limits=[NAN, 2.0]),
    "limits missing": lambda d: term(d).pop("limits"),
    "no actions": lambda d: d["action"].update(terms=[]),
    "one action more": lambda d: d["action"]["terms"].append({**term(d), "name": "more"}),
    "actions of one name": lambda d: d["action"]["terms"].append(term(d)),
    "joints of one name": lambda d: d["joints"].append(d["joints"][0]),
    "joint without a name": lambda d: d["joints"][0].pop("name"),
    "sensor scale NaN": lambda d: sensor(d).update(scale=NAN),
    "sensor scale 0": lambda d: sensor(d).update(scale=0),
    "sensor offset text": lambda d: sensor(d).update(offset="1"),
    "sensor clip inverted": lambda d: sensor(d).update(clip=[1.0, -1.0]),
    "sensors of one name": lambda d: d["obs"]["state"]["terms"].append(sensor(d)),
    "a sensor less": lambda d: d["obs"]["state"]["terms"].pop(),
    "history 0": lambda d: d["obs"]["state"].update(history=0),
    "history 2": lambda d: d["obs"]["state"].update(history=2),
    "state of another length": lambda d: d["obs"]["state"].update(shape=[4]),
    "state of another dtype": lambda d: d["obs"]["state"].update(dtype="float64"),
    "nothing observed": lambda d: d.update(obs={}),
    "another modality": lambda d: d["obs"].update(sound={}),
    "control_dt 0": lambda d: d.update(control_dt=0.0),
    "control_dt negative": lambda d: d.update(control_dt=-0.02),
    "control_dt NaN": lambda d: d.update(control_dt=NAN),
    "control_dt true": lambda d: d.update(control_dt=True),
    "delay inverted": lambda d: d["trained"].update(action_delay=[2, 1]),
    "delay negative": lambda d: d["trained"].update(action_delay=[-1, 1]),
    "batch 2": lambda d: d.update(batch=2),
    "batch any": lambda d: d.update(batch=None),
    "horizon 4": lambda d: d["planner"].update(horizon=4),
    "more elites than candidates": lambda d: d["planner"].update(num_elites=10**6),
    "another latent": lambda d: d["model"].update(latent_dim=8),
    "schema 0": lambda d: d.update(schema=0),
    "schema text": lambda d: d.update(schema="1"),
    "another kind": lambda d: d.update(kind="controller"),
    "graph elsewhere": lambda d: d["graphs"].update({"../planner.onnx": {}}),
    "graph less": lambda d: d["graphs"].pop("step.onnx"),
    "no graphs": lambda d: d.update(graphs=[]),
    "huge": lambda d: term(d).update(offset=10**400),
}


@pytest.mark.parametrize("change", INCONSISTENT.values(), ids=INCONSISTENT)
def test_inconsistent_documents(bundle: Path, change: Change) -> None:
    edit(bundle, change)
    refusal(bundle)


def test_documents_that_are_not_json(bundle: Path) -> None:
    for text in ("", "[]", "nan", '{"schema": 1, "schema": 1}', "[" * 100_000, '{"a": 1e999}'):
        (bundle / "planner.json").write_text(text)
        reseal(bundle)
        assert refusal(bundle).startswith("planner.json: expected ")


def mutate(folder: Path, draw: np.random.Generator) -> None:
    """Change, insert, remove or cut bytes of one file, the manifest among them."""
    path = sorted(folder.iterdir())[draw.integers(len(list(folder.iterdir())))]
    before = data = path.read_bytes()
    while data == before:
        at = int(draw.integers(len(before)))
        byte = bytes([int(draw.integers(256))])
        match draw.integers(4):
            case 0:
                data = before[:at] + byte + before[at + 1 :]
            case 1:
                data = before[:at] + byte + before[at:]
            case 2:
                data = before[:at] + before[at + 1 :]
            case _:
                data = before[:at]
    path.write_bytes(data)


def refuse_mutations(cart_bundle: Path, tmp_path: Path, num_random: int, num_rehashed: int) -> None:
    for seed in range(num_random):
        folder = Path(shutil.copytree(cart_bundle, tmp_path / "random"))
        mutate(folder, np.random.default_rng(seed))
        with pytest.raises(BundleError):
            Bundle.read(folder)
        shutil.rmtree(folder)
    changes = list(INCONSISTENT.values())
    for seed in range(num_rehashed):
        draw = np.random.default_rng(seed)
        folder = Path(shutil.copytree(cart_bundle, tmp_path / "rehashed"))
        chosen = draw.choice(len(changes) + 1)
        if chosen == len(changes):
            with_external_data(folder)
        else:
            edit(folder, changes[chosen])
        with pytest.raises(BundleError):
            Planner.load(folder, expect_joints=["rail"], expect_control_dt=0.008)
        shutil.rmtree(folder)


def test_mutations(cart_bundle: Path, tmp_path: Path) -> None:
    refuse_mutations(cart_bundle, tmp_path, 10, 2)


@pytest.mark.soak
def test_many_mutations(cart_bundle: Path, tmp_path: Path) -> None:
    refuse_mutations(cart_bundle, tmp_path, 1_000, 200)
