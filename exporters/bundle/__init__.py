"""The folder that an export writes: model, tokenizer, model card, manifest."""
