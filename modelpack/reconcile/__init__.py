"""Loops that make Git and what really serves agree: a pure decision each, and a rim that speaks to Git and the gate.

In: what the gate says about rollouts, what Git names. Out: commits, and an acknowledgement to the gate.
"""
