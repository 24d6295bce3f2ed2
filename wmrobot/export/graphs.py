"""From stages to ONNX graphs: one file each, no external data, nothing of this machine in it."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx
import torch

from wmrobot.export.stages import Stage
from wmrobot.runtime.bundle.signatures import Port, Signature

OPSET = 20
_DTYPES = {
    "float32": torch.float32, "uint8": torch.uint8, "int64": torch.int64, "bool": torch.bool,
}  # fmt: skip
_MAX_BATCH = 4096


def trace(stage: Stage, signature: Signature) -> onnx.ModelProto:
    """One stage as an ONNX graph with the inputs and outputs that the signature tells."""
    inputs, outputs = signature
    batch = torch.export.Dim("B", min=1, max=_MAX_BATCH)
    dims = [_dynamic(port, batch) for port in inputs]
    # Their own names could be those of values within, which the exporter does not notice.
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            stage,
            tuple(_example(port) for port in inputs),
            input_names=[f"input.{port.name}" for port in inputs],
            output_names=[f"output.{port.name}" for port in outputs],
            # one entry for `*inputs`, which is what the stage's `forward` takes
            dynamic_shapes=(tuple(dims),) if any(dims) else None,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "torch.onnx.export without a program"
    return _tidy(program.model_proto, signature)


def describe_policy(policy: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Write metadata into a graph, for deployers that look for it there."""
    for key, value in metadata.items():
        policy.metadata_props.add(key=key, value=value)


def _example(port: Port) -> torch.Tensor:
    """A tensor to trace with; two robots where any number of them goes, as 1 is special."""
    shape = [2 if size == "B" else int(size) for size in port.shape]
    return torch.zeros(shape, dtype=_DTYPES[port.dtype])


def _dynamic(port: Port, batch: "torch.export.Dim") -> dict[int, "torch.export.Dim"] | None:
    return {axis: batch for axis, size in enumerate(port.shape) if size == "B"} or None


def _tidy(model: onnx.ModelProto, signature: Signature) -> onnx.ModelProto:
    """Rename what is within, and forget where it came from (paths of this machine among it)."""
    graph = model.graph
    names = {f"input.{port.name}": port.name for port in signature.inputs}
    names |= {f"output.{port.name}": port.name for port in signature.outputs}
    for value in (*graph.input, *graph.output):
        assert value.name in names, f"{value.name}: not of the signature"
    for index, tensor in enumerate(graph.initializer):
        if tensor.name in names:  # an output that is constant
            node = onnx.helper.make_node("Identity", [f"w{index}"], [tensor.name])
            names[f"w{index}"] = f"w{index}"
            graph.node.append(node)
        else:
            names[tensor.name] = f"w{index}"
        tensor.name = f"w{index}"
        tensor.ClearField("doc_string")
        del tensor.metadata_props[:]
    for node in graph.node:
        assert not any(a.HasField("g") or a.graphs for a in node.attribute), node.op_type
        for name in node.output:
            names.setdefault(name, f"v{len(names)}")
        node.input[:] = [names[name] if name else "" for name in node.input]
        node.output[:] = [names[name] if name else "" for name in node.output]
        del node.metadata_props[:]
        for field in ("name", "doc_string", "overload"):
            node.ClearField(field)
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
        value.ClearField("doc_string")
        del value.metadata_props[:]
    for repeated in (graph.value_info, graph.metadata_props, model.metadata_props, model.functions):
        del repeated[:]
    graph.name, model.producer_name = "wmrobot", "wmrobot"
    for field in ("doc_string", "producer_version", "domain"):
        model.ClearField(field)
    graph.ClearField("doc_string")
    onnx.checker.check_model(model)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves what the exporter says of itself (deprecations, missing torchvision)."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
