"""What this machine has and lacks for armap-agents, and the command that mends each lack.

Every check is quick and changes nothing: package versions are read from metadata, so neither torch
nor a browser is started.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import metadata

import httpx

from armap_agents.errors import ConfigurationError
from armap_agents.serving.cache import cache_folder
from armap_agents.serving.models import MODELS, is_pulled
from armap_agents.serving.vllm_environment import (
    cpu_environment_folder,
    cpu_environment_ready,
    has_nvidia_gpu,
)
from armap_agents.tools.scienceworld.jvm import java
from armap_agents.tools.webshop.chromium import find_chromium
from armap_agents.tools.webshop.nouns import MODEL, find_nouns

DISTRIBUTION = "armap-agents"
NEEDED_EXTRAS = ("", "reward")
MEMORY_GIB = 7  # What a machine of 8 GB shows.
DISK_GIB = 6


class State(Enum):
    """How a check ended."""

    PRESENT = "present"
    OPTIONAL = "optional"
    MISSING = "missing"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    `MISSING` stands for what `make run` needs and cannot get by itself; what it gets by itself, and
    what only other work needs, is `OPTIONAL`. `cure` is empty when nothing is lacking.
    """

    name: str
    state: State
    found: str
    cure: str = ""


def checks() -> Iterator[Check]:
    """Look at the machine, one check at a time."""
    yield _python()
    yield _cores()
    yield _memory()
    yield _disk()
    yield from _packages()
    yield from _vllm()
    yield from _models()
    yield _java()
    yield _chromium()
    yield _nouns()
    yield _endpoint(os.environ.get("ARMAP_POLICY_URL"))


def _python() -> Check:
    return Check("Python", State.PRESENT, ".".join(map(str, sys.version_info[:3])))


def _cores() -> Check:
    return Check("CPU cores", State.PRESENT, str(len(os.sched_getaffinity(0))))


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if total >= MEMORY_GIB:
        return Check("Memory", State.PRESENT, f"{total:.0f} GiB")
    cure = f"serving the policy here needs {MEMORY_GIB} GiB; use an endpoint elsewhere"
    return Check("Memory", State.MISSING, f"{total:.0f} GiB", cure)


def _disk() -> Check:
    folder = next(path for path in (cache_folder(), *cache_folder().parents) if path.exists())
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.0f} GiB free for {cache_folder()}"
    if free >= DISK_GIB or cpu_environment_ready():
        return Check("Disk", State.PRESENT, found)
    cure = f"free {DISK_GIB} GiB, or set ARMAP_CACHE to a folder on a larger disk"
    return Check("Disk", State.MISSING, found, cure)


def _packages() -> Iterator[Check]:
    """Check the project's own requirements, extra by extra, as its metadata lists them."""
    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires(DISTRIBUTION) or []:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", requirement)
        if name is not None and name[0] != DISTRIBUTION:
            extras.setdefault(extra[1] if extra else "", []).append(name[0])
    for extra_name, names in extras.items():
        if extra_name == "vllm" and not has_nvidia_gpu():
            continue
        lacking = [name for name in names if _version(name) is None]
        label = f"Packages: {extra_name or 'core'}"
        target = f"{DISTRIBUTION}[{extra_name}]" if extra_name else DISTRIBUTION
        if not lacking:
            versions = ", ".join(f"{name} {_version(name)}" for name in names[:3])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            yield Check(label, State.PRESENT, versions + more)
        else:
            state = State.MISSING if extra_name in NEEDED_EXTRAS else State.OPTIONAL
            yield Check(label, state, f"no {', '.join(lacking)}", f'pip install "{target}"')


def _vllm() -> Iterator[Check]:
    if has_nvidia_gpu():
        yield Check("GPU", State.PRESENT, "NVIDIA")
        return
    yield Check("GPU", State.PRESENT, "none: models run on the CPU")
    if cpu_environment_ready():
        yield Check("vLLM for CPUs", State.PRESENT, str(cpu_environment_folder()))
    else:
        yield Check("vLLM for CPUs", State.OPTIONAL, "not made yet", "armap serve policy")


def _models() -> Iterator[Check]:
    for name, source in MODELS.items():
        label = f"Model: {name}"
        if is_pulled(name):
            yield Check(label, State.PRESENT, source.purpose)
        else:
            found = f"{source.purpose}, not pulled yet"
            yield Check(label, State.OPTIONAL, found, f"armap models pull {name}")


def _java() -> Check:
    return _program("Java", "ScienceWorld", java)


def _chromium() -> Check:
    return _program("Chromium", "WebShop", find_chromium)


def _program(name: str, user: str, find: Callable[[], str]) -> Check:
    """Check a program by the function that its user finds it with."""
    try:
        return Check(name, State.PRESENT, find())
    except ConfigurationError as error:
        lack, _, cure = str(error).partition(": ")
        return Check(name, State.OPTIONAL, f"{lack} ({user} needs it)", cure)


def _nouns() -> Check:
    source = find_nouns().source
    if source.startswith(MODEL):
        return Check("Title nouns", State.PRESENT, source)
    cure = f"pip install spacy && python -m spacy download {MODEL}"
    found = f"{source} (near WebShop's official rewards; spaCy's nouns give them exactly)"
    return Check("Title nouns", State.OPTIONAL, found, cure)


def _endpoint(url: str | None) -> Check:
    name = "Policy endpoint"
    if not url:
        return Check(name, State.OPTIONAL, "ARMAP_POLICY_URL is not set", "armap serve policy")
    try:
        answer = httpx.get(f"{url.rstrip('/')}/models", timeout=3)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        cure = "armap serve policy, or mend ARMAP_POLICY_URL"
        return Check(name, State.OPTIONAL, f"{url}: {error}", cure)
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Check(name, State.PRESENT, f"{url} (asks for a key)")
    try:
        models = ", ".join(str(entry["id"]) for entry in answer.json()["data"])
    except (ValueError, KeyError, TypeError):
        cure = "the address must end in /v1 and speak the OpenAI API"
        return Check(name, State.OPTIONAL, f"{url} lists no models", cure)
    return Check(name, State.PRESENT, f"{url}: {models}")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
