"""How one property is checked on one network: integer-valued weights, the oracle's answer, exact comparison, a small failure."""
