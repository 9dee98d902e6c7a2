"""Labels of genes, base by base: files, objective, judgement, card."""
