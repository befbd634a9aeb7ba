"""What the benchmark of solvers is made of: inputs, peers, clocks, judgement and tables."""
