"""Where rooms come from, and what makes impulse responses of them."""
