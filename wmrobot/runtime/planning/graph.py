"""One graph of a bundle in onnxruntime, its inputs and outputs held to what the bundle says."""

from collections.abc import Mapping, Sequence

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from wmrobot.runtime.arrays import Array
from wmrobot.runtime.bundle.folder import Bundle
from wmrobot.runtime.bundle.signatures import Port
from wmrobot.runtime.errors import BundleError

_FATAL = 4  # onnxruntime's log level: what fails is raised as well
_DTYPES = {
    "tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}  # fmt: skip
_REFUSALS = tuple(
    getattr(native, name)
    for name in (
        "EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel",
        "NoSuchFile", "NotImplemented", "RuntimeException",
    )
)  # fmt: skip
"""What onnxruntime raises for a graph that it cannot load; they share no base but `Exception`."""


class Graph:
    """A loaded graph.

    Args:
        bundle: Verified bundle.
        name: File of the graph.
        threads: Of onnxruntime, within this graph.

    Raises:
        BundleError: onnxruntime does not take it, or it has other inputs or outputs than told.
    """

    def __init__(self, bundle: Bundle, name: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        # waiting threads must not burn the core that the robot's own loop needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.files[name], options, providers=["CPUExecutionProvider"]
            )
        except _REFUSALS as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(f"{name}: onnxruntime does not take it: {reason}") from None
        self._inputs, self._outputs = bundle.signatures[name]
        _compare(f"{name}: inputs", self._session.get_inputs(), self._inputs)
        _compare(f"{name}: outputs", self._session.get_outputs(), self._outputs)
        self._names = [port.name for port in self._outputs]

    def __call__(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, for inputs by name; what the graph does not take is left out."""
        taken = {port.name: feed[port.name] for port in self._inputs}
        return dict(zip(self._names, self._session.run(self._names, taken), strict=True))


def _compare(what: str, found: Sequence[onnxruntime.NodeArg], told: Sequence[Port]) -> None:
    got = [(arg.name, _DTYPES.get(arg.type, arg.type), tuple(arg.shape)) for arg in found]
    for have, port in zip(got, told, strict=False):
        if have != tuple(port):
            raise BundleError(f"{what}: expected {tuple(port)}, got {have}; export it again")
    if len(got) != len(told):
        raise BundleError(f"{what}: expected {len(told)}, got {len(got)}; export it again")
