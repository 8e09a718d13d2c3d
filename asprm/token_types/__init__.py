"""The kinds of token that a policy writes, in mathematics and in programs."""
