"""Plain state goes into a tree and comes back as it was, type and all."""

from collections import deque
from typing import Any

import numpy as np
import pytest

from wmrobot.envs.attributes import (
    NotPlainError,
    decode,
    encode,
    load_attributes,
    save_attributes,
)


class Owner:
    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2**100,
        0.1,
        float("inf"),
        np.float32(0.1),
        np.int64(3),
        "text",
        (1, "a", (2.0,)),
        [1, [np.float32(2.0)]],
        {"a": {"@list": 1}, "b": ()},
        deque([1.0, 2.0], maxlen=3),
    ],
)
def test_value_comes_back_with_its_type(value: Any) -> None:
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value) or (isinstance(value, float) and np.isinf(back))
    assert getattr(back, "maxlen", None) == getattr(value, "maxlen", None)


def test_arrays_are_copied_both_ways() -> None:
    array = np.arange(3.0)
    tree = encode({"x": array})
    array[0] = 9.0
    back = decode(tree)
    back["x"][1] = 9.0
    assert decode(tree)["x"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("value", [object(), {1, 2}, {1: 2}, np.array([None]), 1j])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(NotPlainError):
        encode({"nested": [value]})


def test_streams_go_on_alike() -> None:
    owner = Owner(old=np.random.RandomState(1), new=np.random.default_rng(1))
    owner.old.normal()  # leaves half a pair of normals behind
    saved = save_attributes(owner)
    expected = owner.old.normal(size=3), owner.new.normal(size=3)
    load_attributes(owner, saved)
    assert np.array_equal(owner.old.normal(size=3), expected[0])
    assert np.array_equal(owner.new.normal(size=3), expected[1])


def test_view_is_written_not_replaced() -> None:
    memory = np.arange(4.0)
    owner = Owner(view=memory[1:3], own=np.zeros(1))
    saved = save_attributes(owner)
    memory[:] = 7.0
    load_attributes(owner, saved)
    assert memory.tolist() == [7.0, 1.0, 2.0, 7.0]


def test_functions_are_passed_over_and_strictness_is_a_choice() -> None:
    owner = Owner(call=len, kind=int, opaque=object(), number=1)
    with pytest.raises(NotPlainError):
        save_attributes(owner)
    assert save_attributes(owner, skip=("opaque",)) == {"number": 1}
    assert save_attributes(owner, strict=False) == {"number": 1}
