"""How a finished network is computed: memory, convolutions, folding. Nothing here changes what it computes."""
