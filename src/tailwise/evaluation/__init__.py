"""From logits to numbers: a confusion matrix, the measures that follow from it, many / medium / few groups."""
