"""The client side on Trio: ports, connections, four-letter words."""
