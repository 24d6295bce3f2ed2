"""Weights in half precision: half the size, the same arithmetic.

Every weight is stored as fp16 and cast to fp32 where it is used; onnxruntime folds that cast when
it loads the graph. So a plan takes as long as before and differs by the rounding of the weights
alone, on every processor.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

_SMALLEST = 64  # entries; smaller ones are constants and biases, not worth a node


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its large weights stored as fp16.

    A weight that fp16 cannot hold (beyond 65504) stays as it is.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    casts = []
    for tensor in half.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < _SMALLEST:
            continue
        if np.abs(value).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    onnx.checker.check_model(half)
    return half
