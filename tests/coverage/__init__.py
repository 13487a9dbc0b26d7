"""What ``ops/coverage`` makes of its measurement."""
