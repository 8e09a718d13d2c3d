"""How a model is named, loaded and prompted, and how two tokenizers are aligned."""
