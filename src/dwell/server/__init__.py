"""The feedback loop as a service: the HTTP API, and what keeps attackers off it."""
