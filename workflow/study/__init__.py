"""The studies of the heads: experiments with the package, and no part of it."""
