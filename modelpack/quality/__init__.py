"""Whether data may be trained on, and whether a candidate may take the current model's place: tables with intervals.

In: tables (pandas), predictions, what is wanted of them. Out: frozen values that can be shown and stored as JSON.
"""

from modelpack.quality.answers import Sample, predictions
from modelpack.quality.evaluate import compare, evaluate
from modelpack.quality.split import folds, split
from modelpack.quality.table import as_text
from modelpack.quality.validate import validate
from modelpack.quality.validation import Validation

__all__ = ["Sample", "Validation", "as_text", "compare", "evaluate", "folds", "predictions", "split", "validate"]
