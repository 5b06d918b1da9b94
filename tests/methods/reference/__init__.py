"""Each method once more, in float64 NumPy straight from the formulas, with n x n matrices where they are printed."""
