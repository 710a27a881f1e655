"""How often the gate's tests are wrong, what they catch, and how many requests that costs; simulated, seeded."""
