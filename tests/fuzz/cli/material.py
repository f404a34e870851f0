"""Small files of every kind that the command line reads, made once."""

import json
import subprocess
import sys
from pathlib import Path

_MAKE = """
from pathlib import Path
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM
from exporters import ExportOptions, export
from toolkit import Budget, LightTokenConfig, compress

torch.manual_seed(0)
sizes = dict(vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
             intermediate_size=16, max_position_embeddings=32)
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{at}" for at in range(5, 300))]
fast = LightTokenConfig.of_effort("fast")


def made(model, folder):
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({w: at for at, w in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(f"{folder}/tokenizer.json")


made(BertModel(BertConfig(**sizes), add_pooling_layer=False), "model")
made(LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=2, eos_token_id=3,
                                  tie_word_embeddings=True)), "llama")
Path("kept").mkdir()
export("model", "bundle", Budget(ratio=4), options=ExportOptions(config=fast),
       keep_original=Path("kept"))
export("llama", "decoder", Budget(ratio=4), options=ExportOptions(config=fast, with_past=True))
matrix = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
np.save("matrix.npy", matrix)
compress(matrix, Budget(ratio=4), config=fast).save("table.lt")
"""


def make(folder: Path) -> None:
    """Fill ``folder``, which is there and empty."""
    subprocess.run([sys.executable, "-c", _MAKE], cwd=folder, check=True, capture_output=True)
    kept = next((folder / "kept").rglob("*.onnx"))
    for file in list(kept.parent.iterdir()):
        file.rename(folder / ("original.onnx" if file == kept else file.name))  # names its weights
    for part in sorted((folder / "kept").rglob("*"), reverse=True):
        part.rmdir() if part.is_dir() else part.unlink()
    (folder / "kept").rmdir()
    (folder / "text.txt").write_text("w10 w11 w12\nw13 w14\nw15\nw16 w17\nw18 w19 w20\n")
    (folder / "pairs.tsv").write_text("w10 w11\tw12\t1.0\nw13\tw14 w15\t3.0\nw9\tw8\t2.0\n")
    rows = [{"sentence1": "w10", "sentence2": "w11", "score": 1.0}] * 3
    (folder / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "samples.json").write_text(json.dumps({"input_ids": [[1, 2, 3]]}))
    plan = "models: [original.onnx]\nexport: {ratio: [4, 6], effort: fast}\n"
    (folder / "plan.yaml").write_text(plan)
    plan = 'models = ["original.onnx"]\nexport = {ratio = 4}\nevaluate = {text = "text.txt"}\n'
    (folder / "plan.toml").write_text(plan)
    results = {"kind": "lighttoken device results", "schema": 1, "place": "linux-arm64"}
    results |= {"subject": {}, "environment": {}, "answers": []}
    (folder / "results.json").write_text(json.dumps(results))
