"""A vocabulary that is cut to some languages: which tokens stay, and a model without the others."""
