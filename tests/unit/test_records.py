# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plain data as records of a results file, and back."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp.records import from_record, to_record

MOST = 10**19


@dataclass(frozen=True)
class Inner:
    some_name: int
    text: str | None = "default"


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    share: float = 0.5


@given(
    st.builds(
        Outer,
        st.lists(st.builds(Inner, st.integers(-MOST, MOST), st.none() | st.text())).map(
            tuple
        ),
        st.floats(-MOST, MOST),
    )
)
def test_data_comes_back(data: Outer) -> None:
    assert from_record(Outer, json.loads(json.dumps(to_record(data)))) == data


def test_defaults_may_be_missing_and_whole_numbers_are_numbers() -> None:
    assert from_record(Outer, {"inner": [{"some-name": 1}]}) == Outer((Inner(1),))
    assert from_record(Outer, {"inner": [], "share": 1}) == Outer((), 1.0)
    with pytest.raises(ValueError, match=r"inner\[0\].some-name is missing"):
        from_record(Outer, {"inner": [{}]})
    with pytest.raises(ValueError, match="it is no object"):
        from_record(Outer, [])


def test_text_that_cannot_be_written_again_is_refused() -> None:
    half = json.loads(r'{"inner": [{"some-name": 1, "text": "\ud800"}]}')
    with pytest.raises(ValueError, match=r"inner\[0\].text has half of a surrogate"):
        from_record(Outer, half)
