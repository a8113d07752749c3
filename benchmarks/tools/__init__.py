"""What the benchmarks share: measuring quality, time and memory, and writing figures down."""
