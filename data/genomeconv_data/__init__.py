"""What ships with genomeconv: genomes, weights, golden files (see README.md)."""
