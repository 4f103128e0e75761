"""The checks of the doctor. Each returns findings."""
