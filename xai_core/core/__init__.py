"""What every room stands on: errors, options of methods, cache keys, device and precision, and derivatives (`autodiff`)."""
