"""The quorum side on Trio: the nursery tree of a peer and what each role does in it."""
