"""Make one artifact: apply the passes, emit, check, verify, describe. Nothing that fails a check is kept."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fastwhisper_compress
from fastwhisper_compress.checkpoint.dims import modules
from fastwhisper_compress.checkpoint.model import Checkpoint, Source
from fastwhisper_compress.emit.artifact import GRAPHS, Emission, check_plan, emit
from fastwhisper_compress.emit.audit import audit
from fastwhisper_compress.emit.precision import Plan
from fastwhisper_compress.errors import UnsafeInputError
from fastwhisper_compress.evaluation.suite import Suite
from fastwhisper_compress.passes.apply import Compressed, apply
from fastwhisper_compress.passes.blocks import calibrated_blocks
from fastwhisper_compress.pipeline.files import read_json, sha256, write_json
from fastwhisper_compress.pipeline.gates import Gates
from fastwhisper_compress.pipeline.listen import Listener
from fastwhisper_compress.pipeline.order import Order, described
from fastwhisper_compress.pipeline.provenance import code_digest, package_versions
from fastwhisper_compress.pipeline.seal import key
from fastwhisper_compress.pipeline.store import Store
from fastwhisper_compress.pipeline.train import Teacher
from fastwhisper_compress.pipeline.verify import parity_clips, verify_compressed, verify_fp32, verify_loads
from fastwhisper_compress.recipe.base import BasePass
from fastwhisper_compress.recipe.shapes import Prune
from fastwhisper_compress.runtime.manifest import FORMAT, SCHEMA_VERSION, EncoderContext, inside_of
from fastwhisper_compress.runtime.transcriber import load_artifact

Report = Callable[[str, int, int], None]
"""Called with what is going on, and how much of how much is done."""

# What computes the weights, and what the verification hears.
_NUMERICS = (
    *("onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "scipy", "torch", "transformers"),
    *("openai-whisper", "tokenizers", "soxr", "soundfile", "av"),
)


class Builder:
    """Makes artifacts of one checkpoint, verified on one parity set, in one store."""

    def __init__(
        self,
        store: Store,
        checkpoint: Checkpoint,
        gates: Gates,
        parity: Suite,
        report: Report,
        *,
        teachers: Mapping[str, Teacher] | None = None,
        processes: int = 1,
    ) -> None:
        """Hold what all artifacts share.

        Args:
            store: Keeps what is made.
            checkpoint: The weights to start from.
            gates: The least quality.
            parity: Suite that artifacts are verified on.
            report: Called with what is going on, and how much of how much is done.
            teachers: Whom students learn from, by the names in the recipe, besides the checkpoint itself.
            processes: How many processes train together.
        """
        self._store = store
        self._checkpoint = checkpoint
        self._gates = gates
        self._parity = parity
        self._report = report
        self._versions = package_versions(_NUMERICS)
        self._listener = Listener(store, checkpoint, report, teachers=teachers or {}, processes=processes)

    def check(self, order: Order) -> Plan:
        """Refuse what no provider or group size can honour, before any long work.

        What calibration would change is left out: smoothing and factorising, and which parts go where pruning judges them by
        speech; how many go is known.

        Returns:
            The plan, before calibration has rounded anything.

        Raises:
            ProviderError: The provider has no kernel for one of the precisions.
            RecipeError: A group size does not divide a module's inputs, layers that are to be streamed cannot, or what is
                to be learnt cannot be.
        """
        self._listener.check(order)
        pairs = zip(order.passes, order.selections, strict=True)
        known = [(_uncalibrated(one), paths) for one, paths in pairs]
        kept = [(one, paths) for one, paths in known if one.stage != "weights" or not one.calibrated]
        passes, selections = [one for one, _ in kept], [paths for _, paths in kept]
        compressed = apply(self._checkpoint, passes, selections, order.provider)
        check_plan(compressed.checkpoint, compressed.plan, layers=order.offload == "layers")
        return compressed.plan

    def specs(self, order: Order, baseline: str | None) -> list[tuple[str, dict[str, Any]]]:
        """Return what decides each stage of an artifact, with the kind of the stage and in the order of making.

        Args:
            order: What to make.
            baseline: Name of the stage of the FP32 artifact; None if this is the FP32 artifact itself.

        Raises:
            RecipeError: A pass calibrates and the order names no calibration, or no FP32 artifact that listens to it.
            ProviderError: The provider has no kernel for one of the precisions.
        """
        plan = self.check(order)
        heard = self._listener.specs(order, baseline)
        artifact = {
            "model": [public_id(self._checkpoint.source), self._checkpoint.source.revision],
            "checkpoint": self._checkpoint.digest,
            "decoding": self._checkpoint.decoding.to_json(),
            "tokenizer": hashlib.sha256(self._checkpoint.tokenizer_json).hexdigest(),
            "passes": [described(pass_, paths) for pass_, paths in zip(order.passes, order.selections, strict=True)],
            "provider": order.provider,
            "seed": order.seed,
            "margin_s": order.margin_s,
            "batch_size": order.batch_size,
            "offload": order.offload,
            "heard": [[kind, key(spec)] for kind, spec in heard],
            "gate": self._least(order, plan),
            "gates": asdict(self._gates),
            "parity": self._parity.digest,
            "baseline": baseline,
            "versions": self._versions,
            "code": code_digest("checkpoint", "passes", "emit", "pipeline", "runtime"),
        }
        return [*heard, ("artifact", artifact)]

    def build(self, order: Order, baseline: Path | None) -> Path:
        """Return the folder of an artifact, making it unless the store has it.

        Args:
            order: What to make.
            baseline: The FP32 artifact to verify it against; None if it is the FP32 artifact itself.

        Raises:
            GateError: Parity or the gate failed; nothing is kept.
            RecipeError: A pass calibrates and the order names no calibration, or no FP32 artifact that listens to it.
            ProviderError: The provider has no kernel for one of the precisions.
        """
        _, spec = self.specs(order, None if baseline is None else baseline.name)[-1]

        def make(folder: Path) -> None:
            learnt: list[dict[str, Any]] = []
            compressed = self.compress(order, baseline, learnt)
            plan = self._rounded(compressed)
            self._report("emit", 0, 1)
            emission = emit(compressed.checkpoint, plan, folder, layers=order.offload == "layers")
            audit(folder, modules(compressed.checkpoint.dims), plan, emission.modules)
            manifest = self._manifest(order, plan, compressed, emission) | {"training": learnt}
            manifest["files"] = _files(folder)
            write_json(folder / "manifest.json", manifest)
            manifest["verify"] = self._verify(folder, baseline, spec["gate"])
            write_json(folder / "manifest.json", manifest)

        return self._store.stage("artifact", spec, make)

    def compress(self, order: Order, baseline: Path | None, learnt: list[dict[str, Any]] | None = None) -> Compressed:
        """Run the passes of an order and write nothing; for the arguments see :meth:`Listener.compress`."""
        return self._listener.compress(order, baseline, [] if learnt is None else learnt)

    def _rounded(self, compressed: Compressed) -> Plan:
        """Return the plan with the integers that calibration finds."""
        if compressed.statistics is None:
            return compressed.plan

        def progress(done: int, of: int) -> None:
            self._report("round", done, of)

        blocks = calibrated_blocks(compressed.checkpoint, compressed.plan, compressed.statistics, progress)
        return replace(compressed.plan, blocks=blocks)

    def _least(self, order: Order, plan: Plan) -> float:
        return self._gates.token_agreement(plan.precision) if order.gate is None else order.gate

    def _verify(self, folder: Path, baseline: Path | None, least: float) -> dict[str, Any]:
        # What is verified is arithmetic, on the full window; what a shorter one costs is for the evaluation to measure.
        artifact = load_artifact(folder, encoder_context=EncoderContext())
        layers = artifact.manifest.layers
        parts = [] if layers is None else [*layers.encoder, *layers.decoder]
        verify_loads(
            artifact.manifest.graphs | {part.graph.name: part.graph for part in parts}, artifact.manifest.provider
        )
        clips = parity_clips(self._parity, self._gates.clips)

        def progress(done: int, of: int) -> None:
            self._report("verify", done, of)

        if baseline is None:
            return verify_fp32(artifact, self._checkpoint, clips, self._gates.fp32_error, progress)
        return verify_compressed(artifact, load_artifact(baseline), clips, least, progress)

    def _manifest(self, order: Order, plan: Plan, compressed: Compressed, emission: Emission) -> dict[str, Any]:
        checkpoint = self._checkpoint
        by_precision: Counter[str] = Counter()
        for module in emission.modules:
            by_precision[module.storage] += module.bytes
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "package_version": fastwhisper_compress.__version__,
            "model": {
                "id": public_id(checkpoint.source),
                "digest": checkpoint.digest,
                "revision": checkpoint.source.revision,
                "parameters": checkpoint.n_parameters,
                "dims": asdict(checkpoint.dims),
            },
            "provider": order.provider,
            "calibration": _told(order.calibration),
            "graphs": GRAPHS,
            "kv_cache": {
                "dtype": plan.kv_dtype,
                "cross_int8": sorted(plan.cross_int8),
                "capacity": checkpoint.dims.n_text_ctx,
            },
            "encoder_context": {"margin_s": order.margin_s},
            "batch_size": order.batch_size,
            "offload": order.offload,
            "layers": emission.layers,
            "decoding": compressed.checkpoint.decoding.to_json(),
            "passes": [pass_.model_dump(mode="json", exclude={"only_on"}) for pass_ in order.passes],
            "applied": [{"pass": one.name, "n_modules": one.n_modules, "note": one.note} for one in compressed.applied],
            "modules": [module.to_json() for module in emission.modules],
            "fusions": emission.fusions,
            "weight_bytes": sum(by_precision.values()),
            "weight_bytes_by_precision": dict(by_precision),
        }


def _uncalibrated(pass_: BasePass) -> BasePass:
    """Return a pass that leaves as much as another, found without speech: pruning by the absolute size of weights."""
    return pass_.model_copy(update={"method": "l1"}) if isinstance(pass_, Prune) else pass_


def public_id(source: Source) -> str:
    """Return the model's id; of a local path the last part only, as the rest tells about this machine."""
    path = Path(source.id).expanduser()
    return path.resolve().name if str(path) == source.path else source.id


def check_files(folder: Path) -> None:
    """Hash every file of an artifact and compare it with the manifest.

    Raises:
        ArtifactError: A file is missing.
        UnsafeInputError: A file is not the one that was written, or lies elsewhere.
    """
    place = folder / "manifest.json"
    try:
        listed = [(str(file["path"]), file["sha256"]) for file in read_json(place)["files"]]
    except (KeyError, TypeError) as error:
        raise UnsafeInputError("does not list its files", place=str(place), remedy="run the recipe again") from error
    for name, digest in listed:
        path = inside_of(folder, name)
        if sha256(path) != digest:
            raise UnsafeInputError(
                "is not the file that the manifest describes", place=str(path), remedy="run the recipe again"
            )


def artifact_part(folder: Path) -> dict[str, Any]:
    """Return the ``artifact`` part of the results from a manifest."""
    manifest = read_json(folder / "manifest.json")
    return {
        "size_on_disk_bytes": sum(file["bytes"] for file in manifest["files"]),
        "files": manifest["files"],
        "provider": manifest["provider"],
        "kv_dtype": manifest["kv_cache"]["dtype"],
        "modules": manifest["modules"],
        "fusions": manifest["fusions"],
        "applied": manifest["applied"],
    }


def _told(calibration: Suite | None) -> Mapping[str, Any] | None:
    """Return what a manifest says of its calibration."""
    if calibration is None:
        return None
    return {
        "suite": calibration.name,
        "digest": calibration.digest,
        "n_utterances": len(calibration.utterances),
        "synthetic": calibration.synthetic,
        "license": calibration.license,
    }


def _files(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            found.append({"path": name, "bytes": path.stat().st_size, "sha256": sha256(path)})
    return found
