"""The four parts of the papers that do nothing, and their working forms, in pairs: same renders, steps and seeds."""
