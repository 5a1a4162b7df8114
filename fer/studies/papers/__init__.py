"""The five papers: what they print, what follows from it, and how each table and figure is replayed."""
