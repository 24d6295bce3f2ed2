"""What a graph file may not hold, found without the onnx package and before onnxruntime sees it.

An ONNX file is a protobuf message. Its wire format is a sequence of fields, each a number, a type
and a value; what lies in a field of bytes is skipped unless it is one of the messages below. A file
that points at another one (external data), brings its own functions or asks for operators of
another domain than ONNX's own is refused.
"""

from collections.abc import Iterator

from wmrobot.runtime.errors import BundleError

# field number -> message within, of the messages that can hold a tensor or a node (onnx.proto)
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_FORBIDDEN: dict[str, dict[int, str]] = {
    "model": {20: "training steps", 25: "functions of its own"},
    "tensor": {13: "external data"},
}
_DOMAIN = {"opset": 1, "node": 7}
_DATA_LOCATION = 14  # of a tensor; 0 is inside the file
_DEEPEST = 16


def check_onnx(data: bytes, where: str) -> None:
    """Refuse what a bundle's graph does not need.

    Args:
        data: Bytes of the file.
        where: Name of the file, for messages.

    Raises:
        BundleError: Not a protobuf message, or one of the things above.
    """
    if not any(number == 7 for number, _ in _fields(data, where)):
        raise BundleError(f"{where}: expected an ONNX graph, got none; export the bundle again")
    _check(memoryview(data), "model", where, 0)


def _check(data: memoryview, kind: str, where: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise BundleError(f"{where}: expected a plain graph, got one nested too deep")
    inside, forbidden = _INSIDE.get(kind, {}), _FORBIDDEN.get(kind, {})
    for number, value in _fields(data, where):
        if number in forbidden or (kind == "tensor" and number == _DATA_LOCATION and value != 0):
            what = forbidden.get(number, "external data")
            raise BundleError(f"{where}: expected one file that is complete, got {what}")
        if isinstance(value, int):
            continue
        if number == _DOMAIN.get(kind) and bytes(value) not in (b"", b"ai.onnx"):
            domain = bytes(value).decode(errors="replace")
            raise BundleError(f"{where}: expected ONNX's own operators, got those of {domain!r}")
        if number in inside:
            _check(value, inside[number], where, depth + 1)


def _fields(data: bytes | memoryview, where: str) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field: an int, or the bytes of what is delimited by its length."""
    view, at, end = memoryview(data), 0, len(data)
    while at < end:
        key, at = _varint(view, at, where)
        if key >= 2**32:  # other readers keep 32 bits of it, and see another field
            raise BundleError(f"{where}: expected an ONNX file, got something else")
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(view, at, where)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(view, at, where)
        else:
            size = {1: 8, 5: 4}.get(wire, -1)
        if size < 0 or at + size > end or number == 0:
            raise BundleError(f"{where}: expected an ONNX file, got something else")
        yield number, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int, where: str) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise BundleError(f"{where}: expected an ONNX file, got something else")
