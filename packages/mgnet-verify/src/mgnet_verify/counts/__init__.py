"""Parameters and multiply-adds: in closed form, measured on the network, and beside each other for each operator."""
