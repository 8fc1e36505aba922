"""Changes to the optimisers of SB3's algorithms: fused steps, learning rates of parts, hooks on gradients."""
