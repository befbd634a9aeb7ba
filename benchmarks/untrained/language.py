"""Language architectures of transformers, untrained and small, on tweets."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

INPUTS = 128
LENGTH = 32
#: Words get numbers below this; the first are left to what models keep for themselves.
VOCABULARY = 1000
RESERVED = 3
WIDTH = 192
_COMMON = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_attention_heads": 6, "intermediate_size": 512}
_DECODER = {**_COMMON, "num_key_value_heads": 6, "num_hidden_layers": 12}

#: Name to class of model, class of config, and what the config gets.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertModel", "BertConfig", _COMMON),
    "roberta": ("RobertaModel", "RobertaConfig", _COMMON),
    "electra": ("ElectraModel", "ElectraConfig", _COMMON),
    "mpnet": ("MPNetModel", "MPNetConfig", _COMMON),
    "deberta": ("DebertaV2Model", "DebertaV2Config", {**_COMMON, "num_hidden_layers": 12}),
    "distilbert": ("DistilBertModel", "DistilBertConfig", {"vocab_size": VOCABULARY, "dim": WIDTH, "n_heads": 6}),
    "albert": ("AlbertModel", "AlbertConfig", {**_COMMON, "embedding_size": 128}),
    "gpt2": ("GPT2Model", "GPT2Config", {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_head": 6}),
    "gptneox": ("GPTNeoXModel", "GPTNeoXConfig", {**_COMMON, "num_hidden_layers": 12}),
    "opt": (
        "OPTModel",
        "OPTConfig",
        {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "word_embed_proj_dim": WIDTH, "num_attention_heads": 6},
    ),
    "bloom": (
        "BloomModel",
        "BloomConfig",
        {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_head": 6, "n_layer": 12},
    ),
    "phi": ("PhiModel", "PhiConfig", {**_COMMON, "num_hidden_layers": 12}),
    "gemma": ("GemmaModel", "GemmaConfig", {**_DECODER, "num_key_value_heads": 1, "head_dim": 32}),
    "mistral": ("MistralModel", "MistralConfig", {**_DECODER, "num_key_value_heads": 2}),
    "qwen3": ("Qwen3Model", "Qwen3Config", {**_DECODER, "num_key_value_heads": 2, "head_dim": 32}),
    "llama": ("LlamaModel", "LlamaConfig", _DECODER),
    "llama, 24 layers": ("LlamaModel", "LlamaConfig", {**_DECODER, "num_hidden_layers": 24}),
    "qwen2 moe": (
        "Qwen2MoeModel",
        "Qwen2MoeConfig",
        {
            **_DECODER,
            "moe_intermediate_size": 128,
            "shared_expert_intermediate_size": 256,
            "num_experts": 8,
            "num_experts_per_tok": 2,
        },
    ),
    "mamba": ("MambaModel", "MambaConfig", {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 12}),
    "t5 encoder": (
        "T5EncoderModel",
        "T5Config",
        {"vocab_size": VOCABULARY, "d_model": WIDTH, "d_ff": 512, "num_heads": 6, "d_kv": 32, "num_layers": 8},
    ),
}


def texts() -> dict[str, Tensor]:
    """128 tweets of at least six words, as numbers ``(128, 32)`` and a mask; a word always gets the same number."""
    from tasks.language.sources import read_tweets

    ids = torch.zeros(INPUTS, LENGTH, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    tweets = read_tweets()
    order = torch.randperm(len(tweets), generator=torch.Generator().manual_seed(0)).tolist()
    long = (words for k in order if len(words := tweets[k][0].lower().split()) >= 6)
    for row, words in zip(range(INPUTS), long, strict=False):
        for place, word in enumerate(words[:LENGTH]):
            ids[row, place] = RESERVED + int(hashlib.md5(word.encode()).hexdigest(), 16) % (VOCABULARY - RESERVED)
            mask[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask}


def build(name: str) -> nn.Module:
    """A network as transformers makes it from its config; its weights are drawn from the global random state."""
    import transformers

    model, config, options = MODELS[name]
    network: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**options))
    return network
