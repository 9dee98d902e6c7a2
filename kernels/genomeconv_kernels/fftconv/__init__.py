"""Long depthwise convolution through Fourier transforms."""
