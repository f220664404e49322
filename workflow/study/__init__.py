"""The studies of the heads: experiments that use the package, but are not part of it."""
