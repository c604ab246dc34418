"""MLflow's copy of a run, made by a process of its own; training never waits for it."""
