"""EnteroBase: strains, reads, assemblies, typing schemes, and the programs that make them."""
