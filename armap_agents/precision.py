"""Which precision a processor is fast in: one answer for training and for the policy's server."""

from __future__ import annotations

from pathlib import Path


def cpu_multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Say whether this CPU has instructions for products of bfloat16 (AMX or AVX512-BF16).

    It is 1.6 to 1.8 times as fast as float32 there; without them it takes five times as long
    (AVX2). Only Linux tells; anywhere else the answer is no.
    """
    try:
        words = cpuinfo.read_text(errors="replace").split()
    except OSError:
        return False
    return bool({"amx_bf16", "avx512_bf16"}.intersection(words))
