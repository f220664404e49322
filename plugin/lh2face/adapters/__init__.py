"""Ways into other toolboxes, one module each; nothing here is imported unless asked for."""
