"""The long convolution in Triton: one module a band, one plan for all of them."""
