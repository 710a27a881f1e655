"""Whether data may be trained on, and whether a candidate may take the current model's place: tables with intervals.

In: tables (pandas), predictions, what is wanted of them. Out: frozen values that can be shown and stored as JSON.
"""
