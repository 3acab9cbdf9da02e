"""Sizes that explorers may choose: each chapter must reach its last cell with them, in seconds.

Values are Python text for names that the chapter's sizes cell assigns.
"""

_BIAS = {
    "n_train": "600", "n_test": "{8: 80, 16: 300}", "unet_steps": "12", "mlp_steps": "12", "widths": "(4, 8)",
    "n_designed": "2000", "n_sampled": "2000", "n_agree": "2", "n_replicas": "4", "dims_u": "(4, 8)",
    "dims_v": "(3, 4)", "d_steps": "4", "d_level": "{'u': 8, 'v': 4}", "n_paths": "50", "layer_dims": "(4, 8)",
    "d_wide": "9", "n_layers": "2", "layer_cubes": "(6, 6)", "layer_units": "(3, 5)", "clock_sets": "(8, 16)",
    "n_clocks": "3", "clock_steps": "lambda n: 4",
    "stairs_at": "(4,)", "n_stairs": "4", "n_pursuit": "640",
}

_SIM = {
    "n_layer": "1", "steps_layer": "3", "n_replicas": "2", "n_hidden": "2", "n_deep": "2", "n_starts": "2",
    "steps_small": "20", "steps_default": "20", "steps_wide": "20", "steps_order": "9", "n_points": "20",
    "n_steps": "2", "u_omegas": "(0.01,)", "small_unet": "dict(widths=(4,), blocks=1)", "n_unets": "1",
    "unet_separations": "(0.1,)",
}

_CLUSTERS = {
    "grid": "{2: (8, 32, 128), 3: (64, 16)}", "n_seeds": "1", "steps": "15", "width": "8", "n_generated": "50",
    "n_compared": "1", "T": "5", "n_reverse": "20", "n_trap": "1", "n_exact": "20", "movie_steps": "12",
    "n_movies": "1", "narrow": "4", "wide": "{8: (16, 64)}", "deep": "(16, 64)", "n_exchanged": "5", "n_masked": "30",
    "P_few": "16", "onset_below": "(0, 1)", "memory_P": "{16: (16, 8)}", "memory_steps": "16", "n_memories": "1",
    "overfit_steps": "5", "P_trap": "16", "trap_batch": "8", "trap_steps": "3", "d_text": "8", "P_text": "(8, 32)",
    "text_steps": "8", "n_written": "16", "n_held_out": "40", "n_turned_texts": "2", "n_writers": "2", "n_chains": "16",
    "orders": "(1, 3)", "signal_v": "(64,)", "n_signal": "1", "n_grammars": "1", "n_counted": "1",
    "counting": "((dict(v=6, m=2, s=2, L=2), (4, 16)), (dict(v=6, m=3, s=2, L=3), (16, 64)))",
}

_IMAGES = {
    "n_grammars": "2", "n_images": "(2, 1)", "depths": "(1, 2)", "samples": "2", "n_noise": "3", "n_pool": "4",
    "deep": "4", "n_stepped": "1", "reverse_steps": "(1, 2)", "sizes": "(2, 4)", "n_networks": "1", "widths": "(4, 4)",
    "steps": "4", "n_generated": "40", "T": "2", "n_turned": "2", "L_net": "1", "size": "8", "n_drawn": "60",
    "n_letters": "2", "n_photos": "2", "turns": "2", "times": "(0.3, 0.7)", "turn_steps": "4", "n_unets": "1",
    "real_widths": "(4, 4)", "real_batch": "4", "letter_steps": "3", "photo_steps": "3", "photo_at": "(1, 2)",
    "per_class": "60", "class_steps": "3",
}

_PRIMER = {
    "n_networks": "2", "steps": "3", "batch": "8", "n_levels": "3", "n_test": "20", "n_samples": "20",
    "sampler_steps": "(1, 2)", "turn_steps": "3", "n_strings": "20", "n_cloud": "50", "n_clouds": "2", "side": "4",
    "n_boxes": "4", "sides": "(3, 4)", "n_tori": "2",
}

_PICTURE = {
    "exact": "(3, 2)", "n_exact": "2", "pair_v": "8", "pair_m": "(2, 4)", "n_pairs": "2", "n_networks": "3",
    "n_train": "200", "n_test": "200", "steps": "4", "width": "8", "clock_sets": "(8, 16)",
    "clock_steps": "lambda n: 4", "graph_v": "8", "graph_m": "(3, 4)", "n_graphs": "2",
    "n_turned": "4", "turns_each": "2", "half_nets": "2", "turn_signals": "(0.7, 0.2, 0.02)",
    "half_steps": "dict(coin=40, bumps=40, discs=40, strings=40)", "v_half": "4", "L_half": "2", "swing_seeds": "2",
    "swing_steps": "60",
}

#: chapter -> what is different -> name -> value, at quick scale
CASES: dict[str, dict[str, dict[str, str]]] = {
    "primer": {
        "tiny": _PRIMER | {"n_networks": "1", "steps": "1", "n_levels": "2", "n_clouds": "1", "n_tori": "1",
                           "sampler_steps": "(2,)"},
        "other": _PRIMER | {"batch": "5", "n_levels": "5", "sampler_steps": "(1, 3, 9)", "sides": "(3, 5, 7)"},
    },
    "phase-transition": {
        "tiny": {
            "V": "16", "M": "4", "L": "2", "n_grammars": "1", "n_trees": "2", "n_noise": "2", "depths": "(3, 5, 7)",
            "n_window": "(1, 4)", "n_pool": "2", "pool_levels": "(2, 3)", "deep": "4", "late_levels": "(3, 4)",
            "circled": "((16, 4, 2, 2),)", "n_circled": "1", "outside_depths": "(1, 2)", "n_outside": "1",
            "bayes_depths": "(2, 3)", "n_bayes": "2", "n_turned": "1", "n_turn": "1", "chi_depths": "(3,)",
            "n_chi": "1", "n_decay": "1", "samples": "2", "families": "((16, 4),)", "family_depths": "(2,)",
            "mask_depths": "(2,)", "n_flat": "1", "n_time": "2", "written": "((16, 4, 2, 2),)", "n_written": "2",
            "pooled": "()", "n_pooled": "1", "n_rooted": "1", "reverse_steps": "(1,)", "n_stepped": "1",
            "n_masked": "1", "veiled": "()", "veiled_depth": "3", "n_veiled": "1",
        },
        "other": {
            "V": "12", "M": "3", "S": "3", "L": "1", "n_grammars": "2", "n_trees": "4", "n_noise": "5",
            "depths": "(1, 2)", "n_window": "(2, 5)", "n_pool": "8", "pool_levels": "(2, 4)", "deep": "6",
            "late_levels": "(3, 6)", "circled": "((8, 6, 3, 2), (24, 8, 2, 3))", "n_circled": "2",
            "outside_depths": "(1, 3)", "n_outside": "2", "bayes_depths": "(1, 2, 3)", "n_bayes": "3",
            "n_turned": "3", "n_turn": "4", "chi_depths": "(2, 4)", "n_chi": "2", "n_decay": "2", "samples": "4",
            "families": "((32, 8), (12, 5))", "family_depths": "(2, 4)", "mask_depths": "(2,)", "n_flat": "2",
            "n_time": "5", "written": "((6, 8, 3, 2), (8, 3, 2, 3))", "n_written": "3",
            "pooled": "((8, 6),)", "n_pooled": "2", "n_rooted": "2", "reverse_steps": "(2, 5)", "n_stepped": "2",
            "n_masked": "2", "veiled": "((16, 4),)", "veiled_depth": "4", "n_veiled": "2",
        },
    },
    "hierarchical-clustering": {
        "tiny": _CLUSTERS | {"n_generated": "4", "n_scenes": "1", "P_text": "(8,)", "movie_steps": "1",
                             "steps": "1", "memory_steps": "1"},
        "other": _CLUSTERS | {
            "V": "7", "S": "3", "L": "2", "grid": "{3: (30, 10, 90), 6: (64,), 9: (20,)}", "deep": "(8, 32)",
            "m_one": "5", "n_seeds": "{3: 2, 9: 1}", "steps": "{5: 20}", "n_compared": "2", "n_movies": "2",
            "memory_P": "{8: (4, 12, 20), 3: (9, 4, 5)}",
            "n_memories": "2", "memory_share": "0.05", "memory_steps": "90", "P_trap": "10**6", "n_masks": "3",
            "n_fills": "3", "text_fractions": "(0.7,)", "turn_reach": "20", "n_writers": "1", "orders": "(2, 4, 12)",
            "batch": "64", "onset_v": "9", "onset_k": "(2,)", "onset_m": "(5,)", "signal_v": "(20, 30)",
            "signal_m": "(9, 4)", "signal_k": "(1, 4)",
            "counting": "((dict(v=6, m=2, s=3, L=2), (8, 4)),)", "wide": "{9: (20, 60)}", "onset_below": "(0,)",
            "narrow": "6",
            "n_grammars": "2", "text_steps": "20", "n_scenes": "3", "P_text": "(5, 9, 30)", "reach": "4",
            "beyond": "(9,)",
        },
    },
    "simplicity-bias": {
        "tiny": _BIAS | {"n_networks": "1"},
        "other": _BIAS | {
            "LEVEL": "0.5", "other_levels": "(0.9,)", "unet_steps": "42", "n_networks": "2", "widths": "(4, 6, 8)",
            "dims_v": "(4, 6, 8)", "layer_dims": "(8, 6)", "stairs_at": "(4, 6)", "step_sizes": "(1.6,)",
        },
    },
    "sim-dynamics": {
        "tiny": _SIM | {
            "figures": "('10',)", "n_rho": "2", "u_widths": "(2,)", "depths": "(1,)", "mu_deep": "((1.0,),)",
            "mu_ladders": "((1.0,),)", "mu_times": "(1.0, 2.0)", "mu_skills": "(1.0,)", "n_networks": "1",
            "d_order": "2", "epochs": "(1,)", "pixels": "2", "separations": "(0.1,)", "triples": "((0.4, 0.15),)",
            "n_seeds": "1", "n_steps": "1",
        },
        "other": _SIM | {
            "diversity": "0.1", "mu_pair": "(0.7, 1.5)", "mu_stages": "(0.6, 0.9, 1.4, 2.2)",
            "mu_ladders": "((1.0, 2.2), (0.6, 1.0, 1.7, 2.8, 4.6))", "mu_times": "(1.0, 1.6, 2.5, 3.5, 5.0)",
            "mu_deep": "((0.8, 1.2, 1.7, 2.4, 3.0),)", "mu_skills": "(1.0, 2.0, 3.0)", "mu_order": "(1.5,)",
            "variance_order": "(0.3, 0.7)", "figures": "('5', '8')", "u_widths": "(3, 8)", "u_omegas": "(0.02, 0.3)",
            "r_range": "(0.2, 0.8)", "n_rho": "5", "depths": "(1, 3)", "n_networks": "2", "d_order": "5",
            "epochs": "(2, 3)", "pixels": "6", "separations": "(0.12, 0.3)", "triples": "((0.3, 0.4), (0.2, 0.6))",
            "n_seeds": "3", "n_steps": "8", "large_pixels": "8", "large_separations": "(0.2,)", "large_steps": "2",
            "large_unet": "dict(widths=(4, 4), blocks=1)", "n_large": "3", "large_chunk": "2",
            "unet_separations": "(0.05, 0.2, 0.3)", "n_unets": "2",
        },
    },
    "images": {
        "tiny": _IMAGES | {"n_grammars": "1"},
        "other": _IMAGES | {
            "V": "8", "M": "24", "PIXELS": "3", "depths": "(1, 2, 3)", "n_images": "(3, 2, 1)", "L_net": "2",
            "widths": "(4, 4, 4)", "v_net": "4", "m_net": "2", "n_networks": "2", "batch": "8", "reverse_steps": "(3,)",
        },
    },
    "one-picture": {
        "tiny": _PICTURE,
        "other": _PICTURE | {"exact": "(4, 2)", "pair_m": "(2, 3, 5)", "n_pairs": "3", "n_networks": "4", "steps": "40",
                             "clock_sets": "(8, 12, 40)", "graph_m": "(3, 5, 6)", "m_half": "3", "v_half": "5",
                             "L_half": "3", "half_steps": "dict(coin=40, bumps=50, discs=40, strings=60)"},
    },
    "percolation": {
        "tiny": {
            "sides": "(4, 6)", "n_systems": "4", "lattice_side": "12", "n_lattices": "3", "n_tests": "16",
            "noise_size": "4", "noise_steps": "2", "noise_draws": "2", "coarse": "1.0", "steps": "4", "n_seeds": "1",
            "onset_sizes": "(5, 6)", "densities": "(0.1, 0.3)", "unet_size": "4", "unet_widths": "(4, 8)",
            "unet_steps": "3", "unet_batch": "4", "n_unets": "1", "unet_sizes": "(4, 6)", "unet_densities": "(0.2,)",
            "largest_radius": "1.2", "n_expected": "1", "island_sizes": "(8, 8)", "island_densities": "(0.3,)",
            "box_size": "6", "hole_widths": "(2.0,)", "stripe_sizes": "(5, 6)", "stripe_totals": "(1, 3)",
            "value_sizes": "(6, 8)", "value_counts": "(1, 2)", "bridge_size": "8", "bridge_counts": "(0, 2)",
        },
        "other": {
            "sides": "(8, 16)", "n_systems": "20", "thetas": "(0.001, 0.01, 0.1)", "lattice_side": "11",
            "n_lattices": "4", "narrow": "0.5", "wide": "2.0", "n_tests": "12", "noise_size": "8",
            "noise_steps": "3", "noise_draws": "3", "coarse": "2.5", "steps": "25", "n_seeds": "2",
            "onset_sizes": "(6, 8, 12)", "densities": "(0.06, 0.2, 0.6, 2.0)", "bandwidths": "(2,)",
            "unet_size": "8", "unet_widths": "(4,)", "unet_steps": "4", "unet_batch": "6", "n_unets": "1",
            "unet_sizes": "(4, 7)", "unet_densities": "(0.15, 0.3)", "largest_radius": "1.5", "n_expected": "1",
            "island_sizes": "(12, 9)",
            "island_densities": "(0.4, 0.6)", "box_size": "7", "hole_widths": "(1.0, 3.0)",
            "stripe_sizes": "(4, 6)", "stripe_totals": "(1, 2, 3)",
            "value_sizes": "(6, 7, 10)", "value_counts": "(0.5, 2, 3)", "bridge_counts": "(0, 4)",
            "margin": "2.0",
        },
    },
}

#: chapter -> name -> value: the structure of paper scale with tiny sizes, run on the simulated GPU
PAPER: dict[str, dict[str, str]] = {
    "primer": _PRIMER | {"n_networks": "3", "sides": "(3, 4, 5)"},
    "phase-transition": {
        "n_grammars": "2", "n_trees": "2", "n_noise": "4", "depths": "(1, 2, 3, 4, 5)", "n_window": "(2, 4)",
        "n_pool": "8", "pool_levels": "(3, 5)", "late_levels": "(4, 8)", "deep": "8",
        "circled": "((16, 4, 2, 3), (8, 8, 3, 2), (6, 20, 4, 2))", "n_circled": "2", "outside_depths": "(1, 2, 3)",
        "n_outside": "2", "bayes_depths": "(1, 2, 3)", "n_bayes": "4", "n_turned": "2", "n_turn": "3",
        "chi_depths": "(2, 3, 4, 5)", "n_chi": "2", "n_decay": "2", "samples": "3", "family_depths": "(1, 2, 3)",
        "mask_depths": "(2, 3)", "n_flat": "2", "n_time": "4", "L": "3", "n_written": "3", "n_pooled": "2",
        "n_rooted": "2", "reverse_steps": "(1, 2, 4)", "n_stepped": "2", "n_masked": "2", "veiled_depth": "4",
        "n_veiled": "2",
    },
    "hierarchical-clustering": _CLUSTERS | {
        "grid": "{2: (8, 32, 128), 3: (64, 16), 4: (32,), 5: (32,)}", "deep": "(8, 32)", "n_seeds": "2",
        "wide": "{8: (16, 64)}",
        "n_compared": "2", "n_memories": "2", "steps": "6", "memory_P": "{16: (8, 4), 4: (4, 8)}",
        "text_network": "lambda v, k: nets.Transformer(v, d_text, width=8, heads=4, layers=4, seed=k)",
    },
    "images": _IMAGES | {"widths": "(4, 4, 4)", "L_net": "3", "sizes": "(2, 3, 4)", "n_networks": "2"},
    "one-picture": _PICTURE | {"n_networks": "4", "n_graphs": "3"},
    "simplicity-bias": _BIAS | {
        "n_replicas": "3", "dims_u": "(3, 4)", "d_level": "{'u': 4, 'v': 4}", "mlp_steps": "3", "unet_steps": "3",
        "n_agree": "1", "n_paths": "3", "stairs_at": "(3,)",
    },
    "sim-dynamics": _SIM | {
        "figures": "('5',)", "r_range": "(0.4, 0.96)", "n_rho": "2", "u_widths": "(4,)", "depths": "(2,)",
        "mu_deep": "((1.0, 2.0),)", "t_deep": "15.0", "n_networks": "2", "d_order": "4", "n_seeds": "2",
        "large_pixels": "8", "large_separations": "(0.2,)", "large_steps": "1",
        "large_unet": "dict(widths=(4, 4, 4), blocks=1, attention=[2])",
    },
    "percolation": {
        "sides": "(4, 6, 8, 10)", "n_systems": "4", "lattice_side": "12", "n_lattices": "3", "n_tests": "16",
        "noise_size": "8", "noise_steps": "2", "noise_draws": "2", "coarse": "2.5", "steps": "3", "n_seeds": "2",
        "onset_sizes": "(5, 6, 7)", "densities": "(0.1, 0.3)", "unet_size": "8", "unet_widths": "(4, 4, 4)",
        "unet_steps": "2", "unet_batch": "4", "n_unets": "1", "unet_sizes": "(4, 8)", "unet_densities": "(0.12, 0.4)",
        "largest_radius": "1.2", "n_expected": "1", "island_sizes": "(8, 8)", "island_densities": "(0.3, 0.5)",
        "box_size": "8", "stripe_sizes": "(5, 6)", "stripe_totals": "(1, 3)",
        "value_sizes": "(6, 8, 9)", "value_counts": "(1, 3)", "bridge_size": "8", "bridge_counts": "(0, 2)",
    },
}
