"""Models and builders that the benches and the tests share."""
