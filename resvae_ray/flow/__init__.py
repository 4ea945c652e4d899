"""From a source to latents and a report in one folder: the single verbs, one after another."""
