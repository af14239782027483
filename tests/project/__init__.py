"""Claims about the project itself: its text, its size, its package, its make targets."""
