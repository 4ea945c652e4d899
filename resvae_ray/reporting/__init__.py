"""A RUN as one HTML page, and its figures."""
