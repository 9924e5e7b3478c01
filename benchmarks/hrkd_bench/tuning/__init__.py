"""Which session settings are fastest for a bundle on this machine, and a copy of the bundle that has them."""
