"""The recipe of LightToken (KDD 2023), reconstructed: residual binary autoencoders."""
