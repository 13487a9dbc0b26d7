"""Transports that ship with trioquorum, one class a module."""
