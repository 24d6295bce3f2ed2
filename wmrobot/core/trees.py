"""Trees of arrays on disk; nothing is ever unpickled.

A *tree* is nested dicts with string keys whose leaves are numpy arrays or plain JSON values. It is
stored as one safetensors file (the arrays) and one JSON file (the rest). Whoever stores one seals
its folder, because safetensors itself does not notice a flipped byte.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as dump_arrays

from wmrobot.core.errors import CheckpointError
from wmrobot.core.files import dump_json, read_json, sync_folder, write_aside

Tree = Mapping[str, Any]


def save_tree(folder: Path, name: str, tree: Tree) -> None:
    """Store a tree as `<name>.safetensors` and `<name>.json` in an existing folder."""
    arrays: dict[str, np.ndarray] = {}

    def strip(node: Any, path: str) -> Any:
        if isinstance(node, Mapping):
            return {key: strip(child, f"{path}/{key}") for key, child in node.items()}
        if isinstance(node, np.ndarray):
            arrays[path] = np.asarray(node, order="C")
            return {"@array": path}
        return node.item() if isinstance(node, np.generic) else node

    write_aside(folder / f"{name}.json", dump_json(strip(tree, "")))
    write_aside(folder / f"{name}.safetensors", dump_arrays(arrays))
    sync_folder(folder)


def load_tree(folder: Path, name: str) -> dict[str, Any]:
    """Read back what `save_tree` stored.

    Raises:
        CheckpointError: A file is missing, truncated or not of this format.
    """
    file = folder / f"{name}.safetensors"
    try:
        arrays = load_arrays(file.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file") from None
    except SafetensorError as error:
        raise CheckpointError(f"{file}: truncated or not safetensors ({error})") from None

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            if set(node) == {"@array"}:
                if node["@array"] not in arrays:
                    raise CheckpointError(
                        f"{file}: expected array {node['@array']!r}, which is missing"
                    )
                return arrays[node["@array"]]
            return {key: fill(child) for key, child in node.items()}
        return node

    tree = fill(read_json(folder / f"{name}.json"))
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"{folder / name}.json: expected an object, got {type(tree).__name__}"
        )
    return tree
