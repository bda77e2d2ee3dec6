"""Running tables of experiments and comparing them with published ones."""
