"""What dockerutils costs, measured: `benchmarks/run` prints the table."""
