"""Is a solution right? Mathematics, programs, the sandbox."""
