"""Users' own rows: JSON Lines in and out, what each command adds, export."""
