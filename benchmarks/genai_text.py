"""Greedy tokens of onnxruntime-genai, in an environment of its own; same_text.py runs this.

Example:
    python benchmarks/genai_text.py '{"folder": "gemma", "ids": [2, 818], "tokens": 20,
                                      "threads": 1, "library": "lighttoken_op.so"}'

Needs onnxruntime-genai and nothing else. Prints one line of JSON: its version, the ids that its own
tokenizer makes of `prompt`, where that is given, and the ids that it wrote after `ids`.
"""

import json
import sys

import numpy as np
import onnxruntime_genai as og


def main(job: dict) -> dict:
    options = {"intra_op_num_threads": job["threads"]}
    if job.get("library"):  # a file in the bundle's folder
        options["custom_ops_library"] = job["library"]
    config = og.Config(job["folder"])
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    model = og.Model(config)
    made = None
    if "prompt" in job:
        tokenizer = og.Tokenizer(model)
        tokenizer.update_options(add_special_tokens="true")
        made = [int(id_) for id_ in tokenizer.encode(job["prompt"])]
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(job["ids"]) + job["tokens"], do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(np.array([job["ids"]], np.int32))
    written = []
    while not generator.is_done():
        generator.generate_next_token()
        written.append(int(generator.get_next_tokens()[0]))
    return {"version": og.__version__, "prompt_ids": made, "ids": written}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
