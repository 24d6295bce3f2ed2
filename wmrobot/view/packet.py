"""One message between the control loop and its window: arrays and JSON as bytes, and back.

Nothing is pickled: what arrives is numbers and text, whoever wrote it.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

HEADER = 8
"""[bytes] that tell how long the JSON is."""


def pack(message: Mapping[str, Any]) -> bytes:
    """Bytes of a message.

    Args:
        message: Arrays of numbers, and JSON values, by name.
    """
    arrays = {name: value for name, value in message.items() if isinstance(value, np.ndarray)}
    head = {
        "values": {name: value for name, value in message.items() if name not in arrays},
        "arrays": [[name, value.dtype.str, list(value.shape)] for name, value in arrays.items()],
    }
    text = json.dumps(head).encode()
    parts = [len(text).to_bytes(HEADER, "little"), text]
    parts += [np.ascontiguousarray(value).tobytes() for value in arrays.values()]
    return b"".join(parts)


def unpack(data: bytes) -> dict[str, Any]:
    """The message that `pack` made into bytes; its arrays must not be written to."""
    length = int.from_bytes(data[:HEADER], "little")
    head = json.loads(data[HEADER : HEADER + length])
    message: dict[str, Any] = dict(head["values"])
    start = HEADER + length
    for name, dtype, shape in head["arrays"]:
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(data, dtype=dtype, count=count, offset=start)
        message[name] = array.reshape(shape)
        start += array.nbytes
    return message
