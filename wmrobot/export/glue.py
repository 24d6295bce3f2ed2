"""`planner.onnx`, glued from the stage graphs: what the loop does in parts, in one piece.

One iteration is traced once and copied, its weights shared: a whole planner is there in no time,
and cannot differ from its stages.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from wmrobot.export.graphs import OPSET
from wmrobot.runtime.bundle.signatures import (
    BEGIN,
    CHOOSE,
    ENCODE,
    PLANNER,
    PROPOSE,
    SEARCH,
    Port,
    Signature,
)

_DTYPES = {
    "float32": onnx.TensorProto.FLOAT, "uint8": onnx.TensorProto.UINT8,
    "int64": onnx.TensorProto.INT64, "bool": onnx.TensorProto.BOOL,
}  # fmt: skip


def glue_planner(
    stages: Mapping[str, onnx.ModelProto], ports: Mapping[str, Signature], *, iterations: int,
    num_prior: int, num_kept: int,
) -> onnx.ModelProto:  # fmt: skip
    """The whole planner.

    Args:
        stages: Stage graphs by file.
        ports: Their signatures, and the planner's.
        iterations: I.
        num_prior: P.
        num_kept: E.
    """
    glue = _Glue()
    names = {port.name: port.name for signature in ports[PLANNER] for port in signature}
    glue.add(stages[ENCODE], {name: name for name in names})
    glue.add(stages[BEGIN], names | _renamed(("mean", "std", "elites"), "0."))
    first = glue.slice("noise_terminal", 0, num_prior, axis=1)
    glue.add(stages[PROPOSE], {"noise_terminal": first})
    terminal = glue.slice("noise_terminal", num_prior, 2**31, axis=1)
    for i in range(iterations):
        last = i == iterations - 1
        given = _renamed(("mean", "std", "elites"), f"{i}.")
        given |= {
            "noise_candidates": glue.pick("noise_candidates", i),
            "noise_terminal": terminal,
            "noise_heads": glue.pick("noise_heads", i),
        }
        made = {f"next_{name}": f"{i + 1}.{name}" for name in ("mean", "std")}
        made |= {"next_elites": f"{i + 1}.all_elites"}
        made |= _renamed(("returns", "weights", "num_invalid"), f"{i + 1}.")
        if last:
            made |= {"next_mean": "mean", "next_std": "std", "num_invalid": "num_invalid"}
        glue.add(stages[SEARCH], given | made)
        if num_kept:
            target = "elites" if last else f"{i + 1}.elites"
            glue.slice(f"{i + 1}.all_elites", 0, num_kept, axis=1, name=target)
    found = _renamed(("returns", "weights"), f"{iterations}.")
    glue.add(stages[CHOOSE], {"mean": "mean", **found})
    return glue.finish(ports[PLANNER], max(model.ir_version for model in stages.values()))


def _renamed(names: Sequence[str], prefix: str) -> dict[str, str]:
    return {name: prefix + name for name in names}


class _Glue:
    """A graph that grows by copies of others."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[bytes, onnx.TensorProto] = {}  # by what they hold
        self._copies = 0

    def add(self, model: onnx.ModelProto, ports: Mapping[str, str]) -> None:
        """Copy a graph in.

        Args:
            model: The graph.
            ports: Name of an input or output within -> name here; where it lacks one, the same.
        """
        graph = model.graph
        names = {value.name: ports.get(value.name, value.name) for value in graph.input}
        names |= {value.name: ports.get(value.name, value.name) for value in graph.output}
        names |= {tensor.name: self._share(tensor) for tensor in graph.initializer}
        prefix = f"{self._copies}/"
        self._copies += 1
        for node in graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for side in (copy.input, copy.output):
                side[:] = [names.get(name, prefix + name) if name else "" for name in side]
            self._nodes.append(copy)

    def slice(
        self, source: str, start: int, end: int, *, axis: int, name: str | None = None
    ) -> str:
        """A part of a tensor along one axis; returns its name."""
        bounds = [self._constant(np.array([bound])) for bound in (start, end, axis)]
        return self._node("Slice", [source, *bounds], name)

    def pick(self, source: str, index: int) -> str:
        """One entry along the first axis; returns its name."""
        return self._node("Gather", [source, self._constant(np.array(index))], None)

    def finish(self, signature: Signature, ir_version: int) -> onnx.ModelProto:
        """The graph, checked."""
        graph = helper.make_graph(
            self._nodes,
            "wmrobot",
            [_value(port) for port in signature.inputs],
            [_value(port) for port in signature.outputs],
            list(self._weights.values()),
        )
        model = helper.make_model(
            graph,
            producer_name="wmrobot",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=ir_version,
        )
        onnx.checker.check_model(model)
        return model

    def _node(self, kind: str, inputs: Sequence[str], name: str | None) -> str:
        name = name or f"glue/{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name]))
        return name

    def _constant(self, value: np.ndarray) -> str:
        return self._share(numpy_helper.from_array(value.astype(np.int64), ""))

    def _share(self, tensor: onnx.TensorProto) -> str:
        """Name of a weight here; the same one for all that hold the same."""
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.ClearField("name")
        key = hashlib.sha256(copy.SerializeToString(deterministic=True)).digest()
        if key not in self._weights:
            copy.name = f"w{len(self._weights)}"
            self._weights[key] = copy
        return self._weights[key].name


def _value(port: Port) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(port.name, _DTYPES[port.dtype], port.shape)
