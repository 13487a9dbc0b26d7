"""Bytes and structs: ZooKeeper's jute wire and the peers' msgspec frames. Pure; no I/O, no clock."""
