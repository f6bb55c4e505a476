"""What can be set, and nothing else: ``Params`` (params.yaml) and ``Settings`` (the environment).

``Params`` holds whatever changes a result and is versioned with the code; ``Settings`` says where things run and is
never part of a result. Unknown keys are refused in both, and every mistake is named in one message.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from greenlight.edge_settings import EdgeSettings
from greenlight.errors import ConfigError
from greenlight.limits import GateParams as GateParams
from greenlight.limits import JudgedParams as JudgedParams
from greenlight.limits import Section
from greenlight.limits import SliceParams as SliceParams
from greenlight.release_params import ReleaseParams as ReleaseParams
from greenlight.sections import PERIOD as PERIOD
from greenlight.sections import ChampionParams, DataParams, DecisionParams, TrainParams
from greenlight.sections import Device as Device
from greenlight.sections import PathParams as PathParams
from greenlight.sections import PreflightParams as PreflightParams

PREFIX = "GREENLIGHT_"


class Params(Section):
    """The whole of params.yaml."""

    dataset: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    data: DataParams
    champion: ChampionParams = ChampionParams()
    train: TrainParams
    decision: DecisionParams
    judged: JudgedParams = JudgedParams()
    gates: GateParams
    preflight: PreflightParams
    release: ReleaseParams
    paths: PathParams

    @classmethod
    def load(cls, path: Path) -> Params:
        """Read and check params.yaml.

        Raises
        ------
        ConfigError
            The folder is no repository of Greenlight's; or the file is missing, is not YAML, or breaks any rule; all
            mistakes in one message.
        """
        try:
            raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoKeyTwice)
        except FileNotFoundError:
            require_repository(path.parent)
            raise ConfigError("params.yaml is missing", where=str(path), todo="restore it with git") from None
        except (yaml.YAMLError, UnicodeDecodeError) as exc:
            raise ConfigError(f"params.yaml is not YAML: {exc}", where=str(path)) from exc
        return cls.check(raw, where=str(path))

    @classmethod
    def check(cls, raw: object, *, where: str) -> Params:
        """Check what params.yaml holds, already read.

        Raises
        ------
        ConfigError
            Any rule is broken; all mistakes in one message.
        """
        if not isinstance(raw, dict):
            raise ConfigError("there is no mapping of sections", where=where, todo="restore it with git")
        try:
            return cls.model_validate(raw)
        except ValidationError as exc:
            raise ConfigError(_every_mistake(exc, cls), where=where, todo="correct the keys named") from exc


class Settings(EdgeSettings):
    """Where things run. Every field is an environment variable with the prefix ``GREENLIGHT_``.

    Attributes
    ----------
    root : Path
        The repository; found from the working directory upwards.
    home : Path
        Work state: run workspaces, DVC cache and default remote, servers, logs. Default ``<root>/.greenlight``.
    host : str
        IP address that the edge and the Prefect server listen on; ``localhost`` means 127.0.0.1.
    edge_port, prefect_port : int
        Ports, 1 to 65535.
    workers : int
        Server processes per version; 0 means one per core, at most four.
    start_timeout_s : float
        How long a process of the stack may take until it answers.
    prediction_log_mb : int
        Megabytes that all kept predictions together may take, 64 at least; 0 keeps none.
    prediction_features : str
        What is kept of a row: ``all`` (private columns as a keyed hash), ``hash`` (all as one), ``none``.
    prediction_table_rows, response_cache_rows : int
        Largest table whose answers are kept; rows whose scores each process keeps, to answer them again; 0 for none.
    tracing : str
        Address of an OpenTelemetry collector (OTLP over HTTP) that gets a span of every request; empty for none.
    signing : str
        ``key``, or ``sigstore``: keyless, by the identity that CI vouches for.
    signing_key, trusted_keys : Path
        The organisation's own private key; a file or folder of the only public keys that are trusted.
    signer_identity, signer_issuer : str
        Who must have signed without a key, and who vouches for it.
    **others
        Whom the edge lets in: `EdgeSettings`.
    """

    root: Path = Field(default_factory=lambda: find_root(Path.cwd()))
    home: Path = Path()
    host: str = "127.0.0.1"
    edge_port: int = Field(default=8700, ge=1, le=65535)
    prefect_port: int = Field(default=4200, ge=1, le=65535)
    workers: int = Field(default=0, ge=0, le=256)
    start_timeout_s: float = Field(default=120, gt=0)
    prediction_log_mb: int = Field(default=1024, ge=0, le=10_000_000)
    prediction_features: Literal["all", "hash", "none"] = "all"
    prediction_table_rows: int = Field(default=100_000, ge=0, le=2_000_000)
    response_cache_rows: int = Field(default=0, ge=0, le=10_000_000)
    tracing: str = Field(default="", pattern=r"^(https?://[^\s/]+.*)?$")
    signing: Literal["key", "sigstore"] = "key"
    signing_key: Path | None = None
    trusted_keys: Path | None = None
    signer_identity: str = ""
    signer_issuer: str = ""

    @field_validator("prediction_log_mb")
    @classmethod
    def _room(cls, value: int) -> int:
        """A file of the log grows to 16 MB before the next; less than four of them would keep next to nothing."""
        if 0 < value < 64:
            raise ValueError("0 keeps none, else at least 64")
        return value

    @field_validator("host")
    @classmethod
    def _address(cls, value: str) -> str:
        """Envoy listens on addresses and looks no names up."""
        try:
            return str(ip_address("127.0.0.1" if value == "localhost" else value))
        except ValueError:
            raise ValueError("neither an IP address of this machine nor localhost") from None

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What was not given comes from the environment.

        pydantic-settings does the same and more, and its import costs every stage 30 ms of the 160 that it needs to
        start.
        """
        found = {name: os.environ.get(f"{PREFIX}{name.upper()}") for name in cls.model_fields}
        return {name: value for name, value in found.items() if value is not None} | given

    def model_post_init(self, _: Any) -> None:
        """Make paths absolute; ``home`` defaults to ``<root>/.greenlight``."""
        root = self.root.resolve()
        home = (root / ".greenlight") if self.home == Path() else self.home.resolve()
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "home", home)
        for name in ("signing_key", "trusted_keys", "tls_cert", "tls_key"):
            path = getattr(self, name)
            object.__setattr__(self, name, path.absolute() if path else None)

    @classmethod
    def load(cls) -> Settings:
        """Read the environment.

        Raises
        ------
        ConfigError
            A variable has a wrong value, or is a misspelt ``GREENLIGHT_*``; all mistakes in one message.
        """
        known = {f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        unknown = sorted(k for k in os.environ if k.startswith(PREFIX) and k not in known | INTERNAL)
        try:
            settings = cls()
        except ValidationError as exc:
            raise ConfigError(_every_mistake(exc, cls, prefix=PREFIX), where="environment") from exc
        if unknown:
            raise ConfigError(
                f"unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))}", where="environment"
            )
        return settings

    @property
    def params_file(self) -> Path:
        """The repository's params.yaml."""
        return self.root / "params.yaml"

    @property
    def prefect_api_url(self) -> str:
        """Address of the Prefect server's API."""
        return f"http://{self._host_in_url}:{self.prefect_port}/api"

    @property
    def edge_url(self) -> str:
        """Address that predictions are asked at."""
        return f"{self.scheme}://{self._host_in_url}:{self.edge_port}"

    @property
    def _host_in_url(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def server_processes(self) -> int:
        """Server processes per version."""
        return self.workers or min(os.cpu_count() or 1, 4)


# Set by Greenlight for the processes that it starts; not for people.
STAGE_REPORT_FILE = "GREENLIGHT_STAGE_REPORT_FILE"
RUN_PROCESS = "GREENLIGHT_RUN_PROCESS"
OF_SERVERS = frozenset(
    f"{PREFIX}{name}" for name in ("PREDICTION_FOLDER", "PREDICTION_HASH_KEY", "LABELS_FOLDER", "METRICS_FOLDER")
)
INTERNAL = frozenset({STAGE_REPORT_FILE, RUN_PROCESS}) | OF_SERVERS


class _NoKeyTwice(yaml.SafeLoader):
    """YAML's last of two equal keys wins silently; a limit that was corrected in one place would not count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {key.value} is there twice")
        return super().construct_mapping(node, deep)


def share_cores() -> None:
    """Let waiting OpenMP threads sleep instead of spin; to be called before XGBoost is first imported.

    Training and scoring wait at a barrier per tree level. A thread that spins there takes the core from the thread
    that all wait for: beside other processes on 2 cores training took 26 to 53 s, and 4 s with threads that sleep.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def find_root(start: Path) -> Path:
    """The closest folder at or above `start` that holds params.yaml and dvc.yaml, else `start` itself."""
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    return start


def require_repository(folder: Path) -> None:
    """Make sure that `folder` looks like a repository of Greenlight's: it holds params.yaml, dvc.yaml, or both.

    Raises
    ------
    ConfigError
        It holds neither.
    """
    if (folder / "params.yaml").is_file() or (folder / "dvc.yaml").is_file():
        return
    wrong = f"{PREFIX}ROOT is {folder}" if f"{PREFIX}ROOT" in os.environ else str(folder)
    raise ConfigError(
        "not inside a Greenlight repository: params.yaml is missing, and so is dvc.yaml",
        where=wrong,
        todo=f"cd into the repository, or set {PREFIX}ROOT to its folder",
    )


def _every_mistake(exc: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """One line a mistake: key, what is wrong, the value given."""
    lines = []
    for error in exc.errors():
        loc = ".".join(str(part) for part in error["loc"])
        key = f"{prefix}{loc.upper()}" if prefix else loc
        if error["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key{_did_you_mean(error['loc'], model)}")
        elif error["type"] == "missing":
            lines.append(f"{key}: missing")
        else:
            lines.append(f"{key}: {error['msg']}, got {error['input']!r}")
    head = f"{len(lines)} mistake{'s' if len(lines) != 1 else ''}"
    return head + "".join(f"\n  - {line}" for line in lines) + "\n"


def _did_you_mean(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    from difflib import get_close_matches

    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return ""
        model = field.annotation
    close = get_close_matches(str(loc[-1]), model.model_fields, n=1)
    return f", did you mean {close[0]}?" if close else f"; known: {', '.join(model.model_fields)}"
