from asprm.cli import app

app()
