"""Tables and numbers that the prose pages show, made from a run's artifacts."""
