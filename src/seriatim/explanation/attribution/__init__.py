"""What every slice, and every pixel of a slice, had in the answer: by gradients, by leaving out, by covering."""
