"""What several tiers of tests share; imported as `tests.support`, never shipped."""
