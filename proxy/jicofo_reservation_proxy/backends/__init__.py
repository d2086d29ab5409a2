"""One backend: a question goes out, and an outcome comes back."""
