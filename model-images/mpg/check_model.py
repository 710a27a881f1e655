"""The project's own test, run before each training: `python -m unittest check_model`.

The columns that a model was fitted on have to be those that the server makes of a request.
"""

from __future__ import annotations

import unittest

from serve import NUMBERS, ORIGINS, BadRequest, Model, read_instances

CAR = {**dict.fromkeys(NUMBERS, 10.0), "origin": "japan"}
DOCUMENT = {
    "numbers": list(NUMBERS),
    "origins": list(ORIGINS),
    "means": [0.0] * 9,
    "scales": [1.0] * 8 + [2.0],
    "intercept": 1.0,
    "terms": [{"coefficient": 2.0, "columns": [7]}, {"coefficient": 0.5, "columns": [0, 1]}],
}


class CheckModel(unittest.TestCase):
    def test_a_term_is_a_product_of_standardised_columns(self) -> None:
        self.assertEqual(Model(DOCUMENT).predict(CAR), 1.0 + 2.0 * 1.0 + 0.5 * 10.0 * 10.0)

    def test_an_origin_is_a_column_of_its_own(self) -> None:
        self.assertEqual(Model(DOCUMENT).predict({**CAR, "origin": "usa"}), 51.0)

    def test_what_is_no_car_is_refused(self) -> None:
        with self.assertRaises(BadRequest):
            read_instances(b'{"instances": [{"origin": "japan"}]}')


if __name__ == "__main__":
    unittest.main()
