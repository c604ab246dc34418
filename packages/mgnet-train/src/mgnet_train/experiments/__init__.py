"""Many runs: tables of the paper, studies, sweeps, launchers; and landscapes of trained networks."""
