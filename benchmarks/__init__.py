"""Questions of speed and quality, one file each: python -m benchmarks.NAME. Figures are kept in RESULTS.md."""
