"""Sources for a language model: passages that answer a question, merged, cited, within a budget of tokens."""
