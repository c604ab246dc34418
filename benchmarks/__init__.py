"""Speed and memory, measured: one question a file, ratios of variants run in turn. `python -m benchmarks.run` is the short set."""
