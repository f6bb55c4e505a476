from __future__ import annotations

import pytest

from greenlight.adapters import device
from greenlight.errors import ConfigError

HAS_GPU = device._first_gpu().gpu is not None


def test_the_cpu_is_taken_when_asked_for() -> None:
    found = device.resolve("cpu")
    assert (found.kind, found.driver, found.memory_mib) == ("cpu", "", 0)
    assert found.name


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_that_says_why_and_what_next() -> None:
    with pytest.raises(ConfigError, match=r"no GPU can be used: .+ Next: .*auto or cpu"):
        device.resolve("cuda")


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_auto_falls_back_and_says_why() -> None:
    found = device.resolve("auto")
    assert found.kind == "cpu"
    assert found.reason == device._first_gpu().why_not != ""


@pytest.mark.gpu
def test_auto_takes_the_gpu_and_names_it() -> None:
    found = device.resolve("auto")
    assert found.kind == "cuda"
    assert found.name
    assert found.driver
    assert found.memory_mib > 0


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="'tpu'"):
        device.resolve("tpu")
