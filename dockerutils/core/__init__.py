"""What all other packages use: errors, child processes, files, output, rollback."""
