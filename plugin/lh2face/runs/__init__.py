"""Training runs: completing the config, the work folder, and mmengine's Runner."""
