"""Short depthwise convolution, tap by tap."""
