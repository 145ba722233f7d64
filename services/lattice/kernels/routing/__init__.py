"""More than one way at once: which sources are near, how many ways there are, and all of them."""
