"""What this machine is and does meanwhile: processor, control groups, clocks, heat, meters. Read, never guessed."""
