"""The questions of Elhage et al. 2022, "Toy Models of Superposition", beside exact computations."""
