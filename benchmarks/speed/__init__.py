"""Speed against other ways of running the same student; `make speed` rebuilds `benchmarks/speed/RESULTS.md`."""
