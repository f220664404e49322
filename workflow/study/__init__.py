"""The studies of the heads: experiments with the package, which are not part of it."""
