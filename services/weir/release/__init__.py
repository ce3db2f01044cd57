"""Reading a release: hashes, tokenizer, chat template."""
