"""results.json, schema version 4: the one record of a run, typed.

Everything a report prints is read from here. A key that is missing or of the wrong type is an error with its place; a key
that this version does not know is kept and written back, so that additions do not need a new schema version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.files import write_text
from fastwhisper_compress.report.batch_model import AutoBatch, Throughput
from fastwhisper_compress.report.memory_model import MemoryTraceInfo, PredictedMemory, Record
from fastwhisper_compress.report.recordings_model import Interval, Recordings, RecordingsDelta
from fastwhisper_compress.report.text import encodable
from fastwhisper_compress.report.training_model import TrainingLog

SCHEMA_VERSION: Final = 4
RESULTS_FILE = "results.json"
_AGAIN = "write it again with `python -m fastwhisper_compress run`"


def _finite_or_none(value: object) -> object:
    """An exact copy has an infinite SQNR, which JSON cannot say: it becomes null."""
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value


Decibel = Annotated[float | None, BeforeValidator(_finite_or_none)]


class PassSpec(Record):
    """One pass as the recipe wrote it; its own settings (bits, group_size, amount...) are kept as extra keys."""

    name: str = Field(alias="pass")
    targets: tuple[str, ...] = ()  # none: the pass is not about single modules
    ignore: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, JsonValue]:
        """Keys that only this kind of pass has."""
        return dict(self.model_extra or {})


class CalibrationInfo(Record):
    """The speech that activations were measured on."""

    suite: str
    digest: str
    n_utterances: NonNegativeInt
    synthetic: bool
    license: str | None


class RecipeInfo(Record):
    """What was asked: the recipe with its overrides."""

    name: str
    description: str
    digest: str
    provider: str
    encoder_margin_s: float | None  # None: the full window of 30 s
    calibration: CalibrationInfo | None  # None: no pass needed any
    passes: tuple[PassSpec, ...]
    overrides: tuple[str, ...]
    shipped: bool = True  # false: a user's own file, which its name alone does not find


class ModelInfo(Record):
    """The FP32 checkpoint that both sides were made from."""

    id: str
    digest: str
    parameters: NonNegativeInt
    dims: dict[str, int]
    source_kind: str
    revision: str | None


class SuiteInfo(Record):
    """The speech that both sides were measured on."""

    name: str
    digest: str
    language: str
    synthetic: bool
    license: str
    revision: str | None
    n_utterances: NonNegativeInt
    limit: int | None
    shipped: bool = True  # false: a user's own manifest


class FileInfo(Record):
    """One file of an artifact."""

    path: str
    bytes: NonNegativeInt
    sha256: str


class ModuleInfo(Record):
    """How one module is stored, what type it computes in and which operator does it."""

    path: str
    kind: str
    storage: str
    compute: str
    kernel: str
    parameters: NonNegativeInt
    bytes: NonNegativeInt
    sparsity: float


class Applied(Record):
    """What became of a pass."""

    name: str = Field(alias="pass")
    n_modules: NonNegativeInt
    note: str


class Artifact(Record):
    """What lies on disk."""

    size_on_disk_bytes: NonNegativeInt
    files: tuple[FileInfo, ...]
    provider: str
    kv_dtype: str
    modules: tuple[ModuleInfo, ...]
    fusions: dict[str, int]
    applied: tuple[Applied, ...]


class Memory(Record):
    """Bytes in the running process, and bytes of weights."""

    peak_rss_bytes: NonNegativeInt
    rss_after_load_bytes: NonNegativeInt
    rss_imports_bytes: NonNegativeInt
    peak_vram_bytes: NonNegativeInt | None
    weight_bytes: NonNegativeInt
    weight_bytes_by_precision: dict[str, NonNegativeInt]
    trace: MemoryTraceInfo | None = None
    predicted: PredictedMemory | None = None

    def peak_in(self, phase: str) -> int | None:
        """Peak RSS of a phase, if it was traced."""
        found = self.trace.phase(phase) if self.trace else None
        return None if found is None else found.peak_rss_bytes


class FailedAudio(Record):
    """An utterance without a transcript, and why."""

    id: str
    error: str


class Eval(Record):
    """Corpus-level errors and speed. ``wer`` is a fraction, and the character error rate where ``metric`` is ``cer``."""

    metric: Literal["wer", "cer"]
    wer: float
    rtfx: float
    n_utterances: NonNegativeInt
    n_ref_words: NonNegativeInt
    substitutions: NonNegativeInt
    deletions: NonNegativeInt
    insertions: NonNegativeInt
    empty_outputs: NonNegativeInt
    repetition_loops: NonNegativeInt
    redone: NonNegativeInt
    failed: tuple[FailedAudio, ...]
    load_s: float
    audio_s: float
    wall_s: float
    threads: int | None
    measured_at: str | None = None  # ISO 8601; a baseline may be older than the run it serves
    resumed_rows: NonNegativeInt = 0  # taken over from an interrupted run: their memory was not seen
    batch_size: PositiveInt = 1  # clips at a time, as asked for
    batch_size_used: PositiveInt = 1  # and what memory let through
    recoveries: tuple[tuple[PositiveInt, PositiveInt], ...] = ()  # memory ran out at, went on with
    recordings: Recordings | None  # None: the suite holds clips alone


class Sqnr(Record):
    """Signal to quantisation noise per graph; null where there is no noise or no measurement."""

    encoder: Decibel
    decoder: Decibel


class MaxAbsError(Record):
    """Largest absolute difference from the FP32 checkpoint."""

    log_mel: float | None
    encoder: float | None
    logits: float | None


class Share(Record):
    """So many of so many."""

    n: NonNegativeInt
    of: NonNegativeInt


class Gate(Record):
    """The least that the recipe asks for, and whether it was reached."""

    token_agreement: float | None
    passed: bool


class Verify(Record):
    """Parity with the FP32 checkpoint."""

    token_agreement: float | None
    sqnr_db: Sqnr
    max_abs_error: MaxAbsError
    greedy_tokens_equal: Share | None
    gate: Gate | None


class Side(Record):
    """One of the two artifacts that are compared."""

    recipe: str
    artifact: Artifact
    memory: Memory
    eval: Eval
    verify: Verify


class Delta(Record):
    """Candidate minus baseline: errors paired by utterance or, in recordings, by window; and what was saved."""

    wer_delta_pp: float
    ci95_pp: Interval | None
    ci95_by_speaker_pp: Interval | None
    n_speakers: int | None
    share_no_worse: float
    insertions_delta: int
    empty_delta: int
    loops_delta: int
    identical: bool
    unit: Literal["utterance", "window", "utterance or window"]  # what was paired and resampled
    n_units: NonNegativeInt
    statement: str
    size_saved_pct: float
    weight_saved_pct: float
    rss_saved_pct: float
    rtfx_ratio: float
    recordings: RecordingsDelta | None  # None: the suite holds clips alone


class Footprint(Record):
    """What one way of running an artifact takes."""

    peak_rss_bytes: NonNegativeInt
    rtfx: float


class OffloadPrice(Record):
    """The candidate run as its recipe says beside the same artifact with everything kept in memory."""

    mode: Literal["phase", "layers"]
    plain: Footprint
    offloaded: Footprint
    memory_ratio: float
    time_ratio: float
    tokens_identical: NonNegativeInt
    n_utterances: NonNegativeInt


class Environment(Record):
    """The machine and the packages."""

    package_version: str
    python: str
    platform: str
    cpu: str
    cores: int
    threads: int | None
    memory_bytes: NonNegativeInt
    versions: dict[str, str | None]
    providers: tuple[str, ...]
    isa: tuple[str, ...] = ()  # vector extensions, by which kernels are chosen
    gpus: tuple[str, ...] = ()
    variables: dict[str, str] = Field(
        default_factory=dict
    )  # of those that libraries read before they compute, the ones that were set


class Results(Record):
    """A whole run: what was asked, what came of it, against what and on which machine."""

    schema_version: Literal[4] = SCHEMA_VERSION
    created: str
    comparable: bool
    not_comparable_because: str | None
    recipe: RecipeInfo
    model: ModelInfo
    suite: SuiteInfo
    baseline: Side
    candidate: Side
    delta: Delta
    offload: OffloadPrice | None = None  # None: the recipe keeps everything in memory
    auto_batch: AutoBatch | None = None  # None: a number was asked for
    training: tuple[TrainingLog, ...] = ()
    throughput: Throughput | None = None  # None: no sweep over batch sizes was asked for
    environment: Environment
    verdict: str
    timings_s: dict[str, float]

    @model_validator(mode="before")
    @classmethod
    def _encodable(cls, data: Any) -> Any:
        return encodable(data)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read results from a file, or from the run folder that holds one.

        Raises:
            UsageError: Missing or broken file, another schema version, or a key that is missing or wrong.
        """
        path = Path(path)
        file = path / RESULTS_FILE if path.is_dir() else path
        try:
            data = json.loads(file.read_bytes())
        except FileNotFoundError as error:
            raise UsageError(
                "no results here", place=str(file), remedy="name a run folder or its results.json"
            ) from error
        except OSError as error:
            raise UsageError(
                f"cannot read: {error.strerror}", place=str(file), remedy="check its permissions"
            ) from error
        except (json.JSONDecodeError, RecursionError) as error:
            line = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise UsageError("not valid JSON", place=f"{file}{line}", remedy=_AGAIN) from error
        except UnicodeDecodeError as error:
            raise UsageError("not UTF-8 text", place=str(file), remedy=_AGAIN) from error
        return cls.from_json(data, place=str(file))

    @classmethod
    def from_json(cls, data: object, *, place: str = RESULTS_FILE) -> Self:
        """Check decoded JSON, version first: an old reader should name the version, not a hundred missing keys."""
        if not isinstance(data, dict) or "schema_version" not in data:
            raise UsageError(
                "not a results file: no schema_version",
                place=place,
                remedy="name the results.json of a run, not another JSON file",
            )
        version = data["schema_version"]
        if type(version) is not int or version != SCHEMA_VERSION:
            raise UsageError(
                f"schema_version {version!r} is unknown, this package reads {SCHEMA_VERSION}",
                place=place,
                remedy="use the version of fastwhisper_compress that wrote it, or run the recipe again",
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first, *others = error.errors(include_url=False, include_input=False)
            where = ".".join(map(str, first["loc"]))
            more = f" (and {len(others)} more)" if others else ""
            raise UsageError(f"{first['msg']}{more}", place=f"{place}: {where}", remedy=_AGAIN) from error

    def to_json(self) -> dict[str, Any]:
        """The JSON of ``results.json``: tuples are lists, ``pass`` is spelt ``pass``."""
        return self.model_dump(mode="json", by_alias=True)

    def save(self, path: str | Path) -> Path:
        """Write ``results.json`` whole or not at all; a folder gets the usual file name."""
        path = Path(path)
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=2, allow_nan=False)
        return write_text(path / RESULTS_FILE if path.is_dir() else path, text + "\n")
