"""What is trained (recipe, network, run spec) and how it is computed (execution)."""
