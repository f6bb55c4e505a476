"""Which device trains: ``auto | cpu | cuda`` against the GPUs there are and what XGBoost was built with."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from greenlight.errors import ConfigError

Kind = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class DeviceInfo:
    """The device that a run trains on.

    Attributes
    ----------
    kind : str
        ``cpu`` or ``cuda``, as XGBoost is told.
    name : str
        Name of the GPU, or of the processor.
    driver, cuda : str
        Versions of the NVIDIA driver and of the CUDA that it supports; empty on a CPU.
    memory_mib : int
        Memory of the GPU in MiB; 0 on a CPU.
    reason : str
        One sentence: why this device.
    """

    kind: Kind
    name: str
    driver: str = ""
    cuda: str = ""
    memory_mib: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def describe(self) -> str:
        """Kind, name and, where it was chosen and not demanded, why."""
        return f"{self.kind} ({self.name})" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class _Probe:
    gpu: DeviceInfo | None
    why_not: str


def resolve(device: str) -> DeviceInfo:
    """The device to train on.

    Parameters
    ----------
    device : str
        ``auto`` takes a GPU if there is one that XGBoost can use; ``cpu`` and ``cuda`` are demands.

    Raises
    ------
    ConfigError
        ``cuda`` is demanded and there is no GPU that can be used, or `device` is none of the three.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"train.device is {device!r}, it must be auto, cpu or cuda", where="params.yaml")
    if device == "cpu":
        return _cpu("asked for")
    probe = _probe()
    if probe.gpu is not None:
        return probe.gpu
    if device == "cuda":
        raise ConfigError(
            f"train.device is cuda, and no GPU can be used: {probe.why_not}",
            where="params.yaml: train.device",
            todo="run on a machine with an NVIDIA GPU and its driver, or choose auto or cpu",
        )
    return _cpu(probe.why_not)


def _cpu(reason: str) -> DeviceInfo:
    return DeviceInfo("cpu", processor(), reason=reason)


def processor() -> str:
    """The processor's name. On Linux the standard library knows the architecture only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _probe() -> _Probe:
    """The first GPU, or why there is none; NVML is asked first, since it answers in milliseconds."""
    found = _first_gpu()
    if found.gpu is None:
        return found
    from greenlight.core.training import build_info

    if not build_info()["cuda"]:
        return _Probe(None, f"there is a {found.gpu.name}, but the installed XGBoost is built without CUDA")
    return found


def _first_gpu() -> _Probe:
    try:
        import pynvml
    except ImportError:
        return _Probe(None, "nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as exc:
        return _Probe(None, f"no NVIDIA driver answers ({exc})")
    try:
        if not pynvml.nvmlDeviceGetCount():
            return _Probe(None, "the NVIDIA driver sees no GPU")
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        info = DeviceInfo(
            kind="cuda",
            name=_text(pynvml.nvmlDeviceGetName(handle)),
            driver=_text(pynvml.nvmlSystemGetDriverVersion()),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            memory_mib=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // 2**20,
            reason="a GPU is there",
        )
        return _Probe(info, "")
    except pynvml.NVMLError as exc:
        return _Probe(None, f"the NVIDIA driver refuses ({exc})")
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
