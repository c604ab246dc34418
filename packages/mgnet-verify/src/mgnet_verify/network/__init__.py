"""A network as the verifier sees it: its modules by their meaning in the paper, and what hooks saw when it ran."""
