"""CLIP without a runner: weights, class names, prompts, text features."""
