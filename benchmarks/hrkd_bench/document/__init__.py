"""The shape of `bench.json` and `graph.json`: what others may rely on."""
