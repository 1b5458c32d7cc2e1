"""The measurements of `nverb bench`. Code that is measured does not import this package."""
