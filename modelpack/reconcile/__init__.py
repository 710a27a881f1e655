"""Loops that make Git, the registry and what really serves agree: a pure decision each, and a rim that does it.

In: what the gate says about rollouts, what Git names, which versions the registry has, which runs go on. Out: training
runs, commits and pull requests, records beside images, and an acknowledgement to the gate.
"""
