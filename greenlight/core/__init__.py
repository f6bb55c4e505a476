"""Pure functions: no disk, network, clock or environment; randomness only from a seed argument."""
