"""The admin port: the page, its live feed, a client session for it, metrics and commands, all on one HTTP port."""
