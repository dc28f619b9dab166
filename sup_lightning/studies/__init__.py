"""Questions about superposition, each with experiments, a control, and a verdict that is computed."""
