"""Open questions at the end of Elhage et al. 2022, taken further."""
