"""ZooKeeper's atomic broadcast as pure machines: inputs in, effects out; no I/O, no clock, no chance."""
