"""Steps of simulations: arrays in, arrays changed in place."""
