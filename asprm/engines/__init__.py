"""From requests to completions: engines, executors, packed reading, guided decoding."""
