"""Shipped to users: the contract of a store, simulated users, a clock that is moved by hand."""
